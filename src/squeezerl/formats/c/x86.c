/* The layers of host.c with the vector instructions of x86-64, in the dialect of GCC and Clang. */

/// x86
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define AVX_VNNI __attribute__((target("avx2,avxvnni")))
#define AVX512 __attribute__((target("avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))

/// vectors: x86
#include <cpuid.h>

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

/// pack_avx2
/* 16 numbers of steps as integers that are stored: the nearest, the even one of two. What is too low,
   or not a number, becomes the lowest integer, which two saturating conversions hold at 0. */
AVX2 static inline __attribute__((always_inline)) void
pack_avx2(__m256 first, __m256 second, uint8_t *restrict q, float zero_point, float levels)
{
    const __m256 high = _mm256_set1_ps(levels - zero_point);
    const __m256i zero = _mm256_set1_epi16((int16_t)zero_point);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 0, 4, 1, 5);
    const __m256i start = _mm256_cvtps_epi32(_mm256_min_ps(high, first));
    const __m256i end = _mm256_cvtps_epi32(_mm256_min_ps(high, second));
    const __m256i words = _mm256_adds_epi16(_mm256_packs_epi32(start, end), zero);
    const __m256i bytes = _mm256_packus_epi16(words, words);
    const __m256i ordered = _mm256_permutevar8x32_epi32(bytes, order);
    _mm_store_si128((__m128i *)q, _mm256_castsi256_si128(ordered));
}

/// quantize_avx2: pack_avx2
AVX2 static void quantize_avx2(int n, const float *restrict x, uint8_t *restrict q, float scale,
                               float zero_point, float levels)
{
    const __m256 step = _mm256_set1_ps(scale);
    for (int i = 0; i < n; i += 16) {
        const __m256 first = _mm256_div_ps(_mm256_load_ps(x + i), step);
        const __m256 second = _mm256_div_ps(_mm256_load_ps(x + i + 8), step);
        pack_avx2(first, second, q + i, zero_point, levels);
    }
}

/// steps_avx2
/* 8 sums as steps of the integers of the next layer. */
AVX2 static inline __attribute__((always_inline)) __m256
steps_avx2(__m256i sum, int i, const struct rounding *to)
{
    const __m256i offset = _mm256_load_si256((const __m256i *)(to->offset + i));
    const __m256 all = _mm256_cvtepi32_ps(_mm256_add_epi32(sum, offset));
    const __m256 value = _mm256_mul_ps(all, _mm256_load_ps(to->step + i));
    return to->scale == 1.0f ? value : _mm256_div_ps(value, _mm256_set1_ps(to->scale));
}

/// sums_avx2
/* Sums of one or two blocks, 8 in each total. Products of bytes add up in pairs to 16 bits: with
   v = q - 128 and w no two of them exceed these, as 2 * 128 * 127 < 2^15. One factor has to be
   unsigned, so it is |v|, and the sign of v goes to w. */
AVX2 static inline __attribute__((always_inline)) void
sums_avx2(int count, int groups, const uint8_t *restrict q, __m256i *restrict total,
          const int8_t *restrict weight, const int32_t *restrict row_sum)
{
    const __m256i ones = _mm256_set1_epi16(1);
    const __m256i middle = _mm256_set1_epi8(-128);
    for (int h = 0; h < 2 * count; h++) {
        const __m256i rows = _mm256_loadu_si256((const __m256i *)(row_sum + 8 * h));
        total[h] = _mm256_slli_epi32(rows, 7);
    }
    for (int g = 0; g < groups; g++, weight += 64) {
        const __m256i v = _mm256_xor_si256(_mm256_set1_epi32(four(q + 4 * g)), middle);
        const __m256i size = _mm256_abs_epi8(v);
        for (int h = 0; h < 2 * count; h++) {
            const int8_t *w = weight + h / 2 * 64 * groups + h % 2 * 32;
            const __m256i signs = _mm256_sign_epi8(_mm256_load_si256((const __m256i *)w), v);
            const __m256i pairs = _mm256_maddubs_epi16(size, signs);
            total[h] = _mm256_add_epi32(total[h], _mm256_madd_epi16(pairs, ones));
        }
    }
}

/// integer_avx2: pack_avx2 steps_avx2 sums_avx2
AVX2 static void integer_avx2(int blocks, int groups, const uint8_t *restrict q, int32_t *restrict sum,
                 const int8_t *restrict weight, const int32_t *restrict row_sum,
                 uint8_t *restrict next, const struct rounding *to)
{
    int count = 2;
    for (int b = 0; b < blocks; b += count, row_sum += 32, weight += 128 * groups) {
        __m256i total[4];
        if (b + 1 < blocks) {
            sums_avx2(2, groups, q, total, weight, row_sum);
        } else {
            count = 1;
            sums_avx2(1, groups, q, total, weight, row_sum);
        }
        for (int k = 0; k < count; k++) {
            const int i = 16 * (b + k);
            if (sum) {
                _mm256_store_si256((__m256i *)(sum + i), total[2 * k]);
                _mm256_store_si256((__m256i *)(sum + i + 8), total[2 * k + 1]);
            } else {
                const __m256 start = steps_avx2(total[2 * k], i, to);
                const __m256 end = steps_avx2(total[2 * k + 1], i + 8, to);
                pack_avx2(start, end, next + i, to->zero_point, to->levels);
            }
        }
    }
}

/// integer_avxvnni: pack_avx2 steps_avx2
AVX_VNNI static void integer_avxvnni(int blocks, int groups, const uint8_t *restrict q, int32_t *restrict sum,
                 const int8_t *restrict weight, const int32_t *restrict row_sum,
                 uint8_t *restrict next, const struct rounding *to)
{
    (void)row_sum;
    for (int b = 0; b < blocks; b++) {
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
        __m256i all[2];
        for (int h = 0; h < 2; h++) {
            const __m256i even = _mm256_add_epi32(total[0][h], total[1][h]);
            const __m256i odd = _mm256_add_epi32(total[2][h], total[3][h]);
            all[h] = _mm256_add_epi32(even, odd);
        }
        if (sum) {
            _mm256_store_si256((__m256i *)(sum + 16 * b), all[0]);
            _mm256_store_si256((__m256i *)(sum + 16 * b + 8), all[1]);
        } else {
            const __m256 start = steps_avx2(all[0], 16 * b, to);
            const __m256 end = steps_avx2(all[1], 16 * b + 8, to);
            pack_avx2(start, end, next + 16 * b, to->zero_point, to->levels);
        }
    }
}

/// pack_avx512
AVX512 static inline __attribute__((always_inline)) void
pack_avx512(__m512 steps, uint8_t *restrict q, float zero_point, float levels)
{
    steps = _mm512_max_ps(steps, _mm512_set1_ps(-zero_point));
    steps = _mm512_min_ps(steps, _mm512_set1_ps(levels - zero_point));
    const __m512i zero = _mm512_set1_epi32((int32_t)zero_point);
    const __m512i stored = _mm512_add_epi32(_mm512_cvtps_epi32(steps), zero);
    _mm_store_si128((__m128i *)q, _mm512_cvtepi32_epi8(stored));
}

/// quantize_avx512: pack_avx512
AVX512 static void quantize_avx512(int n, const float *restrict x, uint8_t *restrict q, float scale,
                                   float zero_point, float levels)
{
    const __m512 step = _mm512_set1_ps(scale);
    for (int i = 0; i < n; i += 16) {
        pack_avx512(_mm512_div_ps(_mm512_load_ps(x + i), step), q + i, zero_point, levels);
    }
}

/// integer_avx512: pack_avx512
AVX512 static void integer_avx512(int blocks, int groups, const uint8_t *restrict q, int32_t *restrict sum,
                 const int8_t *restrict weight, const int32_t *restrict row_sum,
                 uint8_t *restrict next, const struct rounding *to)
{
    (void)row_sum;
    for (int b = 0; b < blocks; b++) {
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
        const __m512i all = _mm512_add_epi32(even, odd);
        if (sum) {
            _mm512_store_si512(sum + 16 * b, all);
        } else {
            const __m512i sums = _mm512_add_epi32(all, _mm512_load_si512(to->offset + 16 * b));
            const __m512 step = _mm512_load_ps(to->step + 16 * b);
            __m512 steps = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), step);
            if (to->scale != 1.0f) {
                steps = _mm512_div_ps(steps, _mm512_set1_ps(to->scale));
            }
            pack_avx512(steps, next + 16 * b, to->zero_point, to->levels);
        }
    }
}
