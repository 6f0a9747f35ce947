/* Layers for computers: their weights lie in blocks of 16 outputs. A float weight is
   (blocks, inputs, 16), an integer weight (blocks, inputs / 4, 16, 4), from -127 to 127. Sizes are
   multiples of 16, the rest being zeros; arrays are aligned to 64 bytes. */

/// float_function
typedef void float_function(int blocks, int inputs, const float *restrict x, float *restrict y,
                            const float *restrict weight, const float *restrict bias);

/// integer_function
/* How sums become the integers of the next layer: (sum + offset) * step are values, and these are
   divided by a scale; a scale of 1 costs no division. */
struct rounding {
    const int32_t *offset;
    const float *step;
    float scale;
    float zero_point;
    float levels;
};

typedef void quantize_function(int n, const float *restrict x, uint8_t *restrict q, float scale,
                               float zero_point, float levels);

/* sum = weight q, or without a sum the integers `next` that they become. */
typedef void integer_function(int blocks, int groups, const uint8_t *restrict q,
                              int32_t *restrict sum, const int8_t *restrict weight,
                              const int32_t *restrict row_sum, uint8_t *restrict next,
                              const struct rounding *to);

/// float_blocks
KERNEL void float_blocks(int blocks, int inputs, const float *restrict x, float *restrict y,
                         const float *restrict weight, const float *restrict bias)
{
    for (int b = 0; b < blocks; b++, y += 16, bias += 16, weight += 16 * inputs) {
        float sum[4][16];
        for (int j = 0; j < 4; j++) {
            float part[16] = {0.0f};
            for (int i = j; i < inputs; i += 4) {
                const float *w = weight + 16 * i;
                for (int k = 0; k < 16; k++) {
                    const float product = w[k] * x[i];
                    part[k] = part[k] + product;
                }
            }
            memcpy(sum[j], part, sizeof part);
        }
        for (int k = 0; k < 16; k++) {
            const float even = sum[0][k] + sum[1][k];
            const float odd = sum[2][k] + sum[3][k];
            const float all = even + odd;
            y[k] = all + bias[k];
        }
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

/// store_sums
/* 16 sums as the integers of the next layer. */
KERNEL void store_sums(const int32_t *restrict sum, int i, uint8_t *restrict next,
                       const struct rounding *to)
{
    for (int k = 0; k < 16; k++) {
        const float y = (float)(sum[k] + to->offset[i + k]) * to->step[i + k];
        const float steps = to->scale == 1.0f ? y : y / to->scale;
        next[i + k] = stored_as(steps, to->zero_point, to->levels);
    }
}

/// integer_blocks: store_sums four
/* The sums of the weights of each row are for processors that want q around 0. */
KERNEL void integer_blocks(int blocks, int groups, const uint8_t *restrict q, int32_t *restrict sum,
                           const int8_t *restrict weight, const int32_t *restrict row_sum,
                           uint8_t *restrict next, const struct rounding *to)
{
    (void)row_sum;
    for (int b = 0; b < blocks; b++) {
        int32_t total[16] = {0};
        for (int g = 0; g < groups; g++, weight += 64) {
            const uint8_t *v = q + 4 * g;
            for (int k = 0; k < 16; k++) {
                const int8_t *w = weight + 4 * k;
                total[k] += w[0] * v[0] + w[1] * v[1] + w[2] * v[2] + w[3] * v[3];
            }
        }
        if (sum) {
            memcpy(sum + 16 * b, total, sizeof total);
        } else {
            store_sums(total, 16 * b, next, to);
        }
    }
}

/// rescale
/* The exact sums become floats: y = (sum + offset) * step. */
KERNEL void rescale(int n, const int32_t *restrict sum, float *restrict y,
                    const int32_t *restrict offset, const float *restrict step)
{
    for (int i = 0; i < n; i++) {
        y[i] = (float)(sum[i] + offset[i]) * step[i];
    }
}

/// rescale_wide
KERNEL void rescale_wide(int n, const int32_t *restrict sum, float *restrict y,
                         const double *restrict offset, const float *restrict step)
{
    for (int i = 0; i < n; i++) {
        y[i] = (float)(sum[i] + offset[i]) * step[i];
    }
}

/// rescale_row
/* y = (sum - zero_point * row_sum) * (scale * step) + bias */
KERNEL void rescale_row(int n, const int32_t *restrict sum, float *restrict y,
                        const float *restrict step, const int32_t *restrict row_sum,
                        const float *restrict bias, float scale, float zero_point)
{
    const int32_t zero = (int32_t)zero_point;
    for (int i = 0; i < n; i++) {
        const float both = scale * step[i];
        const float product = (float)(sum[i] - zero * row_sum[i]) * both;
        y[i] = product + bias[i];
    }
}
