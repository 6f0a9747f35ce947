/* The arithmetic of a policy. Each function stands between markers, so that a program can hold only
   those that it needs. All of it is single precision and rounded after each operation: it gives the
   same bits on every processor that follows IEEE 754, with every compiler that does. */

/// copy
KERNEL void copy(int n, const float *restrict from, float *restrict to)
{
    for (int i = 0; i < n; i++) {
        to[i] = from[i];
    }
}

/// subtract
KERNEL void subtract(int n, float *restrict x, const float *restrict c)
{
    for (int i = 0; i < n; i++) {
        x[i] = x[i] - c[i];
    }
}

/// add
KERNEL void add(int n, float *restrict x, const float *restrict c)
{
    for (int i = 0; i < n; i++) {
        x[i] = x[i] + c[i];
    }
}

/// multiply
KERNEL void multiply(int n, float *restrict x, const float *restrict c)
{
    for (int i = 0; i < n; i++) {
        x[i] = x[i] * c[i];
    }
}

/// normalize
/* (x - mean) * factor, held between low and high. Not a number stays that. */
KERNEL void normalize(int n, float *restrict x, const float *restrict mean,
                      const float *restrict factor, float low, float high)
{
    for (int i = 0; i < n; i++) {
        const float centered = x[i] - mean[i];
        const float scaled = centered * factor[i];
        const float bounded = scaled < low ? low : scaled;
        x[i] = bounded > high ? high : bounded;
    }
}

/// clamp
/* Not a number stays that. */
KERNEL void clamp(int n, float *restrict x, float low, float high)
{
    for (int i = 0; i < n; i++) {
        const float bounded = x[i] < low ? low : x[i];
        x[i] = bounded > high ? high : bounded;
    }
}

/// clamp_each
KERNEL void clamp_each(int n, float *restrict x, const float *restrict low,
                       const float *restrict high)
{
    for (int i = 0; i < n; i++) {
        const float bounded = x[i] < low[i] ? low[i] : x[i];
        x[i] = bounded > high[i] ? high[i] : bounded;
    }
}

/// to_nearest
/* The nearest integer, the even one of two. Adding 1.5 * 2^23 leaves no bits for a fraction.
   For numbers between -2^22 and 2^22. */
KERNEL float to_nearest(float x)
{
    const float shift = 12582912.0f;
    const float shifted = x + shift;
    return shifted - shift;
}

/// hold
/* Steps from 0, held between -zero_point and levels - zero_point, which can be stored.
   Not a number becomes the lowest. */
KERNEL float hold(float steps, float zero_point, float levels)
{
    const float low = -zero_point;
    const float high = levels - zero_point;
    steps = steps > low ? steps : low;
    return steps < high ? steps : high;
}

/// stored_as: hold
/* The nearest integer that can be stored: the last bits once 1.5 * 2^23 is added. */
KERNEL uint8_t stored_as(float steps, float zero_point, float levels)
{
    const float shifted = hold(steps, zero_point, levels) + 12582912.0f;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    return (uint8_t)(bits + (uint32_t)(int32_t)zero_point);
}

/// quantize: stored_as
KERNEL void quantize(int n, const float *restrict x, uint8_t *restrict q, float scale,
                     float zero_point, float levels)
{
    for (int i = 0; i < n; i++) {
        q[i] = stored_as(x[i] / scale, zero_point, levels);
    }
}

/// store: stored_as
/* The same where x is in steps already. */
KERNEL void store(int n, const float *restrict x, uint8_t *restrict q, float zero_point,
                  float levels)
{
    for (int i = 0; i < n; i++) {
        q[i] = stored_as(x[i], zero_point, levels);
    }
}

/// round_values: hold to_nearest
/* What quantizing and going back to floats leaves of the values. */
KERNEL void round_values(int n, float *restrict x, float scale, float zero_point, float levels)
{
    for (int i = 0; i < n; i++) {
        x[i] = to_nearest(hold(x[i] / scale, zero_point, levels)) * scale;
    }
}

/// round_steps: hold to_nearest
/* The same where x is in steps already. */
KERNEL void round_steps(int n, float *restrict x, float scale, float zero_point, float levels)
{
    for (int i = 0; i < n; i++) {
        x[i] = to_nearest(hold(x[i], zero_point, levels)) * scale;
    }
}

/// find_rounding: to_nearest
/* Scale and zero point for the range that holds 0 and all values. */
KERNEL void find_rounding(int n, const float *restrict x, float levels, float *scale,
                          float *zero_point)
{
    float low[16] = {0.0f};
    float high[16] = {0.0f};
    int i = 0;
    for (; i + 16 <= n; i += 16) {
        for (int k = 0; k < 16; k++) {
            low[k] = x[i + k] < low[k] ? x[i + k] : low[k];
            high[k] = x[i + k] > high[k] ? x[i + k] : high[k];
        }
    }
    for (; i < n; i++) {
        low[0] = x[i] < low[0] ? x[i] : low[0];
        high[0] = x[i] > high[0] ? x[i] : high[0];
    }
    for (int half = 8; half > 0; half /= 2) {
        for (int k = 0; k < half; k++) {
            low[k] = low[k + half] < low[k] ? low[k + half] : low[k];
            high[k] = high[k + half] > high[k] ? high[k + half] : high[k];
        }
    }
    const float span = high[0] - low[0];
    const float step = span / levels;
    *scale = step > 0.0f ? step : 1.0f;
    float zero = -low[0] / *scale;
    zero = zero < levels ? zero : levels; /* also where the range is infinite */
    zero = zero > 0.0f ? zero : 0.0f;
    *zero_point = to_nearest(zero);
}

/// exponential
/* exp(x) = scale * (1 + rest), with a relative error below 1e-7; x is held within [-87, 88]. */
KERNEL void exponential(float x, float *scale, float *rest)
{
    const float shift = 12582912.0f;
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    const float quotient = x * 1.44269504f;
    const float shifted = quotient + shift;
    const float n = shifted - shift;
    /* log(2) in two parts, the first of which is exact with few bits. */
    const float most = n * 0.693359375f;
    const float little = n * -2.12194440e-4f;
    const float part = x - most;
    const float r = part - little;
    float p = 0.00139476f;
    p = p * r;
    p = p + 0.00836725f;
    p = p * r;
    p = p + 0.04166627f;
    p = p * r;
    p = p + 0.16666538f;
    p = p * r;
    p = p + 0.5f;
    const float square = r * r;
    p = p * square;
    *rest = p + r;
    /* The lowest bits of the shifted number are n, which is the exponent of 2. */
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits << 23) + 0x3F800000u;
    memcpy(scale, &bits, sizeof bits);
}

/// exp_of: exponential
KERNEL float exp_of(float x)
{
    float scale;
    float rest;
    exponential(x, &scale, &rest);
    const float more = scale * rest;
    return scale + more;
}

/// expm1_of: exponential
KERNEL float expm1_of(float x)
{
    float scale;
    float rest;
    exponential(x, &scale, &rest);
    const float more = scale * rest;
    const float whole = scale - 1.0f;
    return whole + more;
}

/// tanh_of: exp_of
/* The error is below 2e-7. */
KERNEL float tanh_of(float x)
{
    const float size = x < 0.0f ? -x : x;
    const float z = x * x;
    float p = -0.00571704f;
    p = p * z;
    p = p + 0.02065059f;
    p = p * z;
    p = p + -0.0537435f;
    p = p * z;
    p = p + 0.13331491f;
    p = p * z;
    p = p + -0.33333284f;
    p = p * z;
    p = p * x;
    const float near = p + x;
    const float grown = exp_of(size + size);
    const float quotient = 2.0f / (grown + 1.0f);
    const float far = 1.0f - quotient;
    const float signed_far = x < 0.0f ? -far : far;
    return size < 0.625f ? near : signed_far;
}

/// sigmoid_of: exp_of
KERNEL float sigmoid_of(float x)
{
    return 1.0f / (1.0f + exp_of(-x));
}

/// softplus_of: exp_of
/* log(1 + exp(x)) = max(x, 0) + log(1 + y) with y = exp(-|x|), and log(1 + y) = 2 atanh(y / (2 + y)).
   The error is below 2e-7 of the result or of 1. */
KERNEL float softplus_of(float x)
{
    const float y = exp_of(x < 0.0f ? x : -x);
    const float t = y / (2.0f + y);
    const float z = t * t;
    float p = 0.1401223f;
    p = p * z;
    p = p + 0.1399957f;
    p = p * z;
    p = p + 0.2001085f;
    p = p * z;
    p = p + 0.33333207f;
    p = p * z;
    p = p * t;
    const float half = p + t;
    const float log1p = half + half;
    return (x < 0.0f ? 0.0f : x) + log1p;
}

/// erf_of: exp_of
/* Abramowitz and Stegun, 7.1.26. The error is below 5e-7. */
KERNEL float erf_of(float x)
{
    const float size = x < 0.0f ? -x : x;
    const float grown = 0.3275911f * size;
    const float t = 1.0f / (1.0f + grown);
    float p = 1.061405429f;
    p = p * t;
    p = p + -1.453152027f;
    p = p * t;
    p = p + 1.421413741f;
    p = p * t;
    p = p + -0.284496736f;
    p = p * t;
    p = p + 0.254829592f;
    p = p * t;
    const float square = size * size;
    const float tail = p * exp_of(-square);
    const float result = 1.0f - tail;
    return x < 0.0f ? -result : result;
}

/// relu
KERNEL void relu(int n, float *restrict x)
{
    for (int i = 0; i < n; i++) {
        x[i] = x[i] < 0.0f ? 0.0f : x[i];
    }
}

/// leaky_relu
KERNEL void leaky_relu(int n, float *restrict x, float slope)
{
    for (int i = 0; i < n; i++) {
        const float below = slope * x[i];
        x[i] = x[i] < 0.0f ? below : x[i];
    }
}

/// leaky_relu_each
KERNEL void leaky_relu_each(int n, float *restrict x, const float *restrict slope)
{
    for (int i = 0; i < n; i++) {
        const float below = slope[i] * x[i];
        x[i] = x[i] < 0.0f ? below : x[i];
    }
}

/// tanh_each: tanh_of
KERNEL void tanh_each(int n, float *restrict x)
{
    for (int i = 0; i < n; i++) {
        x[i] = tanh_of(x[i]);
    }
}

/// sigmoid: sigmoid_of
KERNEL void sigmoid(int n, float *restrict x)
{
    for (int i = 0; i < n; i++) {
        x[i] = sigmoid_of(x[i]);
    }
}

/// silu: sigmoid_of
KERNEL void silu(int n, float *restrict x)
{
    for (int i = 0; i < n; i++) {
        x[i] = x[i] * sigmoid_of(x[i]);
    }
}

/// softplus: softplus_of
KERNEL void softplus(int n, float *restrict x)
{
    for (int i = 0; i < n; i++) {
        x[i] = softplus_of(x[i]);
    }
}

/// mish: softplus_of tanh_of
KERNEL void mish(int n, float *restrict x)
{
    for (int i = 0; i < n; i++) {
        x[i] = x[i] * tanh_of(softplus_of(x[i]));
    }
}

/// elu: expm1_of
KERNEL void elu(int n, float *restrict x, float alpha)
{
    for (int i = 0; i < n; i++) {
        const float below = alpha * expm1_of(x[i] < 0.0f ? x[i] : 0.0f);
        x[i] = x[i] < 0.0f ? below : x[i];
    }
}

/// selu: expm1_of
KERNEL void selu(int n, float *restrict x)
{
    for (int i = 0; i < n; i++) {
        const float below = 1.67326324f * expm1_of(x[i] < 0.0f ? x[i] : 0.0f);
        x[i] = 1.05070099f * (x[i] < 0.0f ? below : x[i]);
    }
}

/// gelu: erf_of
KERNEL void gelu(int n, float *restrict x)
{
    for (int i = 0; i < n; i++) {
        const float gate = 1.0f + erf_of(x[i] / 1.41421354f);
        x[i] = 0.5f * x[i] * gate;
    }
}

/// gelu_tanh: tanh_of
KERNEL void gelu_tanh(int n, float *restrict x)
{
    for (int i = 0; i < n; i++) {
        const float cube = x[i] * x[i] * x[i];
        const float small = 0.044715f * cube;
        const float inner = 0.797884583f * (x[i] + small);
        const float gate = 1.0f + tanh_of(inner);
        x[i] = 0.5f * x[i] * gate;
    }
}

/// softsign
KERNEL void softsign(int n, float *restrict x)
{
    for (int i = 0; i < n; i++) {
        x[i] = x[i] / (1.0f + (x[i] < 0.0f ? -x[i] : x[i]));
    }
}

/// draw
KERNEL void draw(int n, float *restrict x, const float *restrict noise,
                 const float *restrict deviation)
{
    for (int i = 0; i < n; i++) {
        const float spread = noise[i] * deviation[i];
        x[i] = x[i] + spread;
    }
}

/// draw_as_is
KERNEL void draw_as_is(int n, float *restrict x, const float *restrict noise)
{
    for (int i = 0; i < n; i++) {
        x[i] = x[i] + noise[i];
    }
}

/// draw_own: exp_of
/* The logarithms of the deviations stand behind the values, and are held between two bounds. */
KERNEL void draw_own(int n, float *restrict x, const float *restrict noise, float low, float high)
{
    for (int i = 0; i < n; i++) {
        const float bounded = x[n + i] < low ? low : x[n + i];
        const float spread = noise[i] * exp_of(bounded > high ? high : bounded);
        x[i] = x[i] + spread;
    }
}

/// argmax
/* The index of the largest value, the first of several. */
KERNEL int32_t argmax(int n, const float *restrict x)
{
    int32_t best = 0;
    for (int i = 1; i < n; i++) {
        if (x[i] > x[best]) {
            best = i;
        }
    }
    return best;
}

/// float_layer
/* y = weight x + bias; weight is (outputs, inputs). Every fourth product goes to the same sum. */
KERNEL void float_layer(int outputs, int inputs, const float *restrict x, float *restrict y,
                        const float *restrict weight, const float *restrict bias)
{
    for (int o = 0; o < outputs; o++, weight += inputs) {
        float sum[4] = {0.0f};
        for (int i = 0; i < inputs; i++) {
            const float product = weight[i] * x[i];
            sum[i % 4] = sum[i % 4] + product;
        }
        const float even = sum[0] + sum[1];
        const float odd = sum[2] + sum[3];
        const float all = even + odd;
        y[o] = all + bias[o];
    }
}

/// integer_layer
/* y = (weight q + offset) * step. The offset holds the bias and what the zero point of q adds. */
KERNEL void integer_layer(int outputs, int inputs, const uint8_t *restrict q, float *restrict y,
                          const int8_t *restrict weight, const int32_t *restrict offset,
                          const float *restrict step)
{
    for (int o = 0; o < outputs; o++, weight += inputs) {
        int32_t sum = offset[o];
        for (int i = 0; i < inputs; i++) {
            sum += weight[i] * q[i];
        }
        y[o] = (float)sum * step[o];
    }
}

/// sum_function
/* The sum of the products of q and a row of weights from 0 upwards. Rows are packed: the first
   weight is in the lowest bits of the first byte, and each row begins with a byte. */
typedef int32_t sum_function(int inputs, const uint8_t *restrict q, const uint8_t *restrict weight);

/// packed_layer: sum_function
/* integer_layer with packed weights. `zero` is the weight that stands for 0, `row` the bytes of a
   row. */
KERNEL void packed_layer(int outputs, int inputs, int row, int32_t zero, sum_function *sum_row,
                         const uint8_t *restrict q, float *restrict y,
                         const uint8_t *restrict weight, const int32_t *restrict offset,
                         const float *restrict step)
{
    int32_t all = 0;
    for (int i = 0; i < inputs; i++) {
        all += q[i];
    }
    all *= zero;
    for (int o = 0; o < outputs; o++, weight += row) {
        y[o] = (float)(sum_row(inputs, q, weight) - all + offset[o]) * step[o];
    }
}

/// sum_4_bits
KERNEL int32_t sum_4_bits(int inputs, const uint8_t *restrict q, const uint8_t *restrict weight)
{
    int32_t sum = 0;
    int i = 0;
    for (; i + 2 <= inputs; i += 2, weight++) {
        sum += (*weight & 15) * q[i] + (*weight >> 4) * q[i + 1];
    }
    return i < inputs ? sum + (*weight & 15) * q[i] : sum;
}

/// sum_bits
/* Eight weights take as many bytes as a weight has bits, and one lies in two bytes at most. */
KERNEL int32_t sum_bits(int bits, int inputs, const uint8_t *restrict q,
                        const uint8_t *restrict weight)
{
    const int32_t mask = (1 << bits) - 1;
    int32_t sum = 0;
    int i = 0;
    for (; i + 8 <= inputs; i += 8, weight += bits) {
        for (int k = 0; k < 8; k++) {
            const int first = k * bits / 8;
            const int shift = k * bits % 8;
            int32_t held = weight[first] >> shift;
            if (shift + bits > 8) {
                held |= weight[first + 1] << (8 - shift);
            }
            sum += (held & mask) * q[i + k];
        }
    }
    int32_t held = 0;
    for (int count = 0; i < inputs; i++, held >>= bits, count -= bits) {
        if (count < bits) {
            held |= *weight++ << count;
            count += 8;
        }
        sum += (held & mask) * q[i];
    }
    return sum;
}

/// sum_7_bits: sum_bits
KERNEL int32_t sum_7_bits(int inputs, const uint8_t *restrict q, const uint8_t *restrict weight)
{
    return sum_bits(7, inputs, q, weight);
}

/// sum_6_bits: sum_bits
KERNEL int32_t sum_6_bits(int inputs, const uint8_t *restrict q, const uint8_t *restrict weight)
{
    return sum_bits(6, inputs, q, weight);
}

/// sum_5_bits: sum_bits
KERNEL int32_t sum_5_bits(int inputs, const uint8_t *restrict q, const uint8_t *restrict weight)
{
    return sum_bits(5, inputs, q, weight);
}

/// sum_3_bits: sum_bits
KERNEL int32_t sum_3_bits(int inputs, const uint8_t *restrict q, const uint8_t *restrict weight)
{
    return sum_bits(3, inputs, q, weight);
}

/// sum_2_bits
KERNEL int32_t sum_2_bits(int inputs, const uint8_t *restrict q, const uint8_t *restrict weight)
{
    int32_t sum = 0;
    int i = 0;
    for (; i + 4 <= inputs; i += 4, weight++) {
        const int32_t held = *weight;
        for (int k = 0; k < 4; k++) {
            sum += (held >> 2 * k & 3) * q[i + k];
        }
    }
    for (int k = 0; i < inputs; i++, k++) {
        sum += (*weight >> 2 * k & 3) * q[i];
    }
    return sum;
}

/// sum_ternary
/* Five weights make a byte, the first being the lowest digit to the base three. */
KERNEL int32_t sum_ternary(int inputs, const uint8_t *restrict q, const uint8_t *restrict weight)
{
    int32_t sum = 0;
    int i = 0;
    for (; i + 5 <= inputs; i += 5, weight++) {
        int32_t held = *weight;
        for (int k = 0; k < 5; k++) {
            const int32_t rest = held * 171 >> 9; /* a third, for numbers below 256 */
            sum += (held - 3 * rest) * q[i + k];
            held = rest;
        }
    }
    for (int32_t held = i < inputs ? *weight : 0; i < inputs; i++, held /= 3) {
        sum += held % 3 * q[i];
    }
    return sum;
}

/// wide_layer
/* The same where the offset does not fit an int32: its sums are exact in double precision. */
KERNEL void wide_layer(int outputs, int inputs, const uint8_t *restrict q, float *restrict y,
                       const int8_t *restrict weight, const double *restrict offset,
                       const float *restrict step)
{
    for (int o = 0; o < outputs; o++, weight += inputs) {
        int32_t sum = 0;
        for (int i = 0; i < inputs; i++) {
            sum += weight[i] * q[i];
        }
        y[o] = (float)(sum + offset[o]) * step[o];
    }
}

/// dynamic_layer
/* y = weight (q - zero_point) * (scale * step): scale and zero point are those of this q. */
KERNEL void dynamic_layer(int outputs, int inputs, const uint8_t *restrict q, float *restrict y,
                          const int8_t *restrict weight, const float *restrict step, float scale,
                          float zero_point)
{
    const int32_t zero = (int32_t)zero_point;
    for (int o = 0; o < outputs; o++, weight += inputs) {
        int32_t sum = 0;
        for (int i = 0; i < inputs; i++) {
            sum += weight[i] * (q[i] - zero);
        }
        const float both = scale * step[o];
        y[o] = (float)sum * both;
    }
}
