/* @TITLE@

   Written by SqueezeRL @VERSION@. It needs no memory but its stack, no library, and nothing to be
   called before. Several threads can call it at once. */

#ifndef @GUARD@
#define @GUARD@

#include <stdint.h>

#define @UPPER@_OBSERVATIONS @OBSERVATIONS@
#define @UPPER@_ACTIONS @ACTIONS@
@NOISE_SIZE@
#ifdef __cplusplus
extern "C" {
#endif

/* The action for an observation.

   observation: as the environment gives it, before any normalisation@FLATTENED@.@ENTRIES@
@NOISE_MEANING@   action: @ACTION@. */
void @NAME@_act(const float observation[@UPPER@_OBSERVATIONS], @NOISE_PARAMETER@@TYPE@ action[@UPPER@_ACTIONS]);

#ifdef __cplusplus
}
#endif

#endif
