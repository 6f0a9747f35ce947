/* Compares the actions of @NAME@_act with recorded ones. With @UPPER@_NO_MAIN it is only a function,
   for a program that prints in its own way. */

#include <string.h>

#include "@NAME@.h"

#define COUNT @COUNT@

static const float observations[COUNT][@UPPER@_OBSERVATIONS] = {
@RECORDED_OBSERVATIONS@
};

@NOISE_RECORDED@static const @TYPE@ actions[COUNT][@UPPER@_ACTIONS] = {
@RECORDED_ACTIONS@
};

int @NAME@_test(uint32_t *checksum);

/* How many of the actions differ. The checksum is over the bits of all actions: it is the same on
   every processor. */
int @NAME@_test(uint32_t *checksum)
{
    int wrong = 0;
    uint32_t sum = 2166136261u; /* FNV-1a, 32 bits at a time */
    for (int i = 0; i < COUNT; i++) {
        @TYPE@ action[@UPPER@_ACTIONS];
        int differs = 0;
        @NAME@_act(observations[i], @NOISE_ROW@action);
        for (int k = 0; k < @UPPER@_ACTIONS; k++) {
            uint32_t bits;
            memcpy(&bits, &action[k], sizeof bits);
            sum = (sum ^ bits) * 16777619u;
            @COMPARISON@
        }
        wrong += differs;
    }
    *checksum = sum;
    return wrong;
}

#ifndef @UPPER@_NO_MAIN
#include <stdio.h>

int main(void)
{
    uint32_t checksum;
    const int wrong = @NAME@_test(&checksum);
    printf("@NAME@: %d of %d actions agree, checksum %08lx\n", COUNT - wrong, COUNT,
           (unsigned long)checksum);
    return wrong != 0;
}
#endif
