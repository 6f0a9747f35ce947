/* The integer layers of host.c with the dot products of 64-bit ARM, in the dialect of GCC and Clang.
   Floats need nothing here: compilers make vectors of the portable loops. */

/// vectors
#include <arm_neon.h>
#if defined(__linux__)
#include <sys/auxv.h>
#endif

#if defined(__clang__)
#define DOT __attribute__((target("dotprod")))
#else
#define DOT __attribute__((target("arch=armv8.2-a+dotprod")))
#endif

/* What this processor has: bit 0 is always set, bit 4 stands for dot products of bytes. */
static int vectors(void)
{
#if defined(__APPLE__)
    return 1 | 16;
#elif defined(__linux__)
    return getauxval(AT_HWCAP) >> 20 & 1 ? 1 | 16 : 1;
#else
    return 1;
#endif
}

/// integer_dot
/* Both factors are signed, so it is q - 128 that is multiplied, and 128 times the sum of the weights
   that is added. */
DOT static void integer_dot(int blocks, int groups, const uint8_t *restrict q, int32_t *restrict sum,
                            const int8_t *restrict weight, const int32_t *restrict row_sum,
                            uint8_t *restrict next, const struct rounding *to)
{
    for (int b = 0; b < blocks; b++, row_sum += 16) {
        int32x4_t total[4];
        for (int k = 0; k < 4; k++) {
            total[k] = vshlq_n_s32(vld1q_s32(row_sum + 4 * k), 7);
        }
        for (int g = 0; g < groups; g++, weight += 64) {
            const uint8x16_t values = vreinterpretq_u8_s32(vdupq_n_s32(four(q + 4 * g)));
            const int8x16_t v = vreinterpretq_s8_u8(veorq_u8(values, vdupq_n_u8(128)));
            for (int k = 0; k < 4; k++) {
                total[k] = vdotq_s32(total[k], vld1q_s8(weight + 16 * k), v);
            }
        }
        int32_t all[16] = {0};
        for (int k = 0; k < 4; k++) {
            vst1q_s32((sum ? sum + 16 * b : all) + 4 * k, total[k]);
        }
        if (!sum) {
            store_sums(all, 16 * b, next, to);
        }
    }
}
