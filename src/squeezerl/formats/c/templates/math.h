/* For bare processors, whose compilers come without a C library. */
#define INFINITY __builtin_inff()
