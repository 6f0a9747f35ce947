/* For bare processors, whose compilers come without a C library. */
#include <stddef.h>
void *memcpy(void *restrict to, const void *restrict from, size_t count);
