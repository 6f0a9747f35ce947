/* The layers of host.c with the vector instructions of x86-64, in the dialect of GCC and Clang. */

/// vectors
#include <cpuid.h>
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define AVX_VNNI __attribute__((target("avx2,avxvnni")))
#define AVX512 __attribute__((target("avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))

/* What this processor and its operating system have: bit 0 is always set, bit 1 stands for AVX2,
   bit 2 for AVX-VNNI, bit 3 for AVX-512 VNNI. */
static int vectors(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1)) {
        return 1;
    }
    unsigned saved, high;
    __asm__ volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    if ((saved & 0x06) != 0x06 || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b >> 5 & 1)) {
        return 1;
    }
    int found = 3;
    const unsigned avx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
    if ((saved & 0xE6) == 0xE6 && (b & avx512) == avx512 && (c >> 11 & 1)) {
        found |= 8;
    }
    if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1)) {
        found |= 4;
    }
    return found;
}

/// float_avx2
AVX2 static void float_avx2(int blocks, int inputs, const float *restrict x,
                                   float *restrict y, const float *restrict weight,
                                   const float *restrict bias)
{
    for (int b = 0; b < blocks; b++, y += 16, bias += 16) {
        __m256 sum[4][2];
        for (int k = 0; k < 4; k++) {
            sum[k][0] = sum[k][1] = _mm256_setzero_ps();
        }
        int i = 0;
        for (; i + 4 <= inputs; i += 4, weight += 64) {
            for (int k = 0; k < 4; k++) {
                const __m256 value = _mm256_broadcast_ss(x + i + k);
                for (int h = 0; h < 2; h++) {
                    const __m256 w = _mm256_load_ps(weight + 16 * k + 8 * h);
                    sum[k][h] = _mm256_add_ps(sum[k][h], _mm256_mul_ps(w, value));
                }
            }
        }
        for (int k = 0; k < 4 && i < inputs; i++, k++, weight += 16) {
            const __m256 value = _mm256_broadcast_ss(x + i);
            for (int h = 0; h < 2; h++) {
                const __m256 w = _mm256_load_ps(weight + 8 * h);
                sum[k][h] = _mm256_add_ps(sum[k][h], _mm256_mul_ps(w, value));
            }
        }
        for (int h = 0; h < 2; h++) {
            const __m256 even = _mm256_add_ps(sum[0][h], sum[1][h]);
            const __m256 odd = _mm256_add_ps(sum[2][h], sum[3][h]);
            const __m256 all = _mm256_add_ps(even, odd);
            _mm256_store_ps(y + 8 * h, _mm256_add_ps(all, _mm256_load_ps(bias + 8 * h)));
        }
    }
}

/// float_avx512
AVX512 static void float_avx512(int blocks, int inputs, const float *restrict x,
                                       float *restrict y, const float *restrict weight,
                                       const float *restrict bias)
{
    for (int b = 0; b < blocks; b++, y += 16, bias += 16) {
        __m512 sum[4];
        for (int k = 0; k < 4; k++) {
            sum[k] = _mm512_setzero_ps();
        }
        int i = 0;
        for (; i + 4 <= inputs; i += 4, weight += 64) {
            for (int k = 0; k < 4; k++) {
                const __m512 w = _mm512_load_ps(weight + 16 * k);
                sum[k] = _mm512_add_ps(sum[k], _mm512_mul_ps(w, _mm512_set1_ps(x[i + k])));
            }
        }
        for (int k = 0; k < 4 && i < inputs; i++, k++, weight += 16) {
            const __m512 w = _mm512_load_ps(weight);
            sum[k] = _mm512_add_ps(sum[k], _mm512_mul_ps(w, _mm512_set1_ps(x[i])));
        }
        const __m512 even = _mm512_add_ps(sum[0], sum[1]);
        const __m512 odd = _mm512_add_ps(sum[2], sum[3]);
        const __m512 all = _mm512_add_ps(even, odd);
        _mm512_store_ps(y, _mm512_add_ps(all, _mm512_load_ps(bias)));
    }
}

/// four
/* Four bytes of q in each lane of 32 bits. */
KERNEL int32_t four(const uint8_t *q)
{
    int32_t bytes;
    memcpy(&bytes, q, sizeof bytes);
    return bytes;
}

/// integer_avx2: four
/* Products of bytes that add up in pairs to 16 bits: with v = q - 128 and w no two of them exceed
   these, as 2 * 128 * 127 < 2^15. One factor has to be unsigned, so it is |v|, and the sign of v
   goes to w. */
AVX2 static void integer_avx2(int blocks, int groups, const uint8_t *restrict q,
                              int32_t *restrict sum, const int8_t *restrict weight,
                              const int32_t *restrict row_sum)
{
    const __m256i ones = _mm256_set1_epi16(1);
    const __m256i middle = _mm256_set1_epi8(-128);
    for (int b = 0; b < blocks; b++, sum += 16, row_sum += 16) {
        __m256i total[2][2];
        for (int h = 0; h < 2; h++) {
            const __m256i rows = _mm256_loadu_si256((const __m256i *)(row_sum + 8 * h));
            total[0][h] = _mm256_slli_epi32(rows, 7);
            total[1][h] = _mm256_setzero_si256();
        }
        for (int g = 0; g < groups; g += 2, weight += 128) {
            for (int k = 0; k < 2; k++) {
                const __m256i values = _mm256_set1_epi32(four(q + 4 * (g + k)));
                const __m256i v = _mm256_xor_si256(values, middle);
                const __m256i size = _mm256_abs_epi8(v);
                for (int h = 0; h < 2; h++) {
                    const __m256i *w = (const __m256i *)(weight + 64 * k + 32 * h);
                    const __m256i signs = _mm256_sign_epi8(_mm256_load_si256(w), v);
                    const __m256i pairs = _mm256_maddubs_epi16(size, signs);
                    total[k][h] = _mm256_add_epi32(total[k][h], _mm256_madd_epi16(pairs, ones));
                }
            }
        }
        for (int h = 0; h < 2; h++) {
            _mm256_storeu_si256((__m256i *)(sum + 8 * h), _mm256_add_epi32(total[0][h], total[1][h]));
        }
    }
}

/// integer_avxvnni: four
AVX_VNNI static void integer_avxvnni(int blocks, int groups, const uint8_t *restrict q,
                                            int32_t *restrict sum, const int8_t *restrict weight,
                           const int32_t *restrict row_sum)
{
    (void)row_sum;
    for (int b = 0; b < blocks; b++, sum += 16) {
        __m256i total[4][2];
        for (int k = 0; k < 4; k++) {
            total[k][0] = total[k][1] = _mm256_setzero_si256();
        }
        for (int g = 0; g < groups; g += 4, weight += 256) {
            for (int k = 0; k < 4; k++) {
                const __m256i values = _mm256_set1_epi32(four(q + 4 * (g + k)));
                for (int h = 0; h < 2; h++) {
                    const __m256i *w = (const __m256i *)(weight + 64 * k + 32 * h);
                    total[k][h] =
                        _mm256_dpbusd_avx_epi32(total[k][h], values, _mm256_load_si256(w));
                }
            }
        }
        for (int h = 0; h < 2; h++) {
            const __m256i even = _mm256_add_epi32(total[0][h], total[1][h]);
            const __m256i odd = _mm256_add_epi32(total[2][h], total[3][h]);
            _mm256_store_si256((__m256i *)(sum + 8 * h), _mm256_add_epi32(even, odd));
        }
    }
}

/// integer_avx512: four
AVX512 static void integer_avx512(int blocks, int groups, const uint8_t *restrict q,
                                         int32_t *restrict sum, const int8_t *restrict weight,
                           const int32_t *restrict row_sum)
{
    (void)row_sum;
    for (int b = 0; b < blocks; b++, sum += 16) {
        __m512i total[4];
        for (int k = 0; k < 4; k++) {
            total[k] = _mm512_setzero_si512();
        }
        for (int g = 0; g < groups; g += 4, weight += 256) {
            for (int k = 0; k < 4; k++) {
                const __m512i values = _mm512_set1_epi32(four(q + 4 * (g + k)));
                const __m512i w = _mm512_load_si512(weight + 64 * k);
                total[k] = _mm512_dpbusd_epi32(total[k], values, w);
            }
        }
        const __m512i even = _mm512_add_epi32(total[0], total[1]);
        const __m512i odd = _mm512_add_epi32(total[2], total[3]);
        _mm512_store_si512(sum, _mm512_add_epi32(even, odd));
    }
}
