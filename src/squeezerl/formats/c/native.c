/* Runs the steps of a policy, and is called from Python. It stands behind kernels.c and host.c. */

#include <stddef.h>
#include <stdlib.h>
#include <time.h>

struct step {
    int32_t kernel;
    int32_t outputs;
    int32_t inputs;
    int32_t padded; /* outputs, or the number of values, as a multiple of 16 */
    const void *array[4];
    float number[4];
};

struct policy {
    const struct step *steps;
    float *scratch; /* for calls that hold Python's lock */
    int32_t count;
    int32_t observations;
    int32_t actions;
    int32_t noise; /* numbers for one action; 0 where none is drawn */
    int32_t width; /* of the widest value, as a multiple of 64 */
    int32_t is_discrete;
    int32_t level; /* which entry of RUN */
    int32_t dimensions; /* of a batch */
    int32_t shape[15];  /* of one observation */
};

/* One observation becomes one action. The scratch memory is 18 bytes for each of `width`. */
KERNEL void run_with(const struct policy *p, const float *restrict observation,
                     const float *restrict noise, void *action, float *scratch,
                     float_function *floats, integer_function *integers,
                     quantize_function *quantizes)
{
    float *restrict x = scratch;
    float *restrict y = scratch + p->width;
    int32_t *restrict sum = (int32_t *)(scratch + 2 * p->width);
    float *restrict features = scratch + 3 * p->width;
    uint8_t *restrict q = (uint8_t *)(scratch + 4 * p->width);
    uint8_t *restrict next = q + p->width;
    float scale = 1.0f;
    float zero_point = 0.0f;
    int n = p->observations;
    for (int i = 0; i < 16 && n % 16; i++) {
        x[(n & ~15) + i] = 0.0f;
    }
    for (int i = 0; i < n; i++) {
        x[i] = observation[i];
    }
    for (const struct step *s = p->steps; s < p->steps + p->count; s++) {
        const void *const *a = s->array;
        const float *c = s->number;
        n = s->padded & ~15;
        switch (s->kernel) {
        case KEEP: copy(s->outputs, x, features); break;
        case JOIN:
            copy(s->inputs, features, x + s->outputs - s->inputs);
            for (int i = s->outputs; i % 16; i++) {
                x[i] = 0.0f;
            }
            break;
        case NORMALIZE: normalize(n, x, a[0], a[1], c[0], c[1]); break;
        case SUBTRACT: subtract(n, x, a[0]); break;
        case ADD: add(n, x, a[0]); break;
        case MULTIPLY: multiply(n, x, a[0]); break;
        case CLAMP: clamp(n, x, c[0], c[1]); break;
        case CLAMP_EACH: clamp_each(n, x, a[0], a[1]); break;
        case ROUND_VALUES: round_values(n, x, c[0], c[1], c[2]); break;
        case ROUND_STEPS: round_steps(n, x, c[0], c[1], c[2]); break;
        case QUANTIZE: quantizes(n, x, q, c[0], c[1], c[2]); break;
        case STORE: store(n, x, q, c[1], c[2]); break;
        case QUANTIZE_ROW:
            find_rounding(s->outputs, x, c[0], &scale, &zero_point);
            quantizes(n, x, q, scale, zero_point, c[0]);
            break;
        case RELU: relu(n, x); break;
        case LEAKY_RELU: leaky_relu(n, x, c[0]); break;
        case LEAKY_RELU_EACH: leaky_relu_each(n, x, a[0]); break;
        case TANH_EACH: tanh_each(n, x); break;
        case SIGMOID: sigmoid(n, x); break;
        case SILU: silu(n, x); break;
        case SOFTPLUS: softplus(n, x); break;
        case MISH: mish(n, x); break;
        case ELU: elu(n, x, c[0]); break;
        case SELU: selu(n, x); break;
        case GELU: gelu(n, x); break;
        case GELU_TANH: gelu_tanh(n, x); break;
        case SOFTSIGN: softsign(n, x); break;
        case FLOAT_LAYER: {
            floats(n / 16, s->inputs, x, y, a[0], a[1]);
            float *other = x;
            x = y;
            y = other;
            break;
        }
        case SUMS:
            /* Inputs are padded to 16, so that there are groups of four groups of four; the weights
               there are 0. */
            integers(n / 16, (s->inputs + 15) / 16 * 4, q, sum, a[0], a[1], NULL, NULL);
            break;
        case REQUANTIZE: {
            const struct rounding to = {a[2], a[3], c[0], c[1], c[2]};
            integers(n / 16, (s->inputs + 15) / 16 * 4, q, NULL, a[0], a[1], next, &to);
            uint8_t *other = q;
            q = next;
            next = other;
            break;
        }
        case RESCALE: rescale(n, sum, x, a[0], a[1]); break;
        case RESCALE_WIDE: rescale_wide(n, sum, x, a[0], a[1]); break;
        case RESCALE_ROW: rescale_row(n, sum, x, a[0], a[1], a[2], scale, zero_point); break;
        case DRAW: draw(s->outputs, x, noise, a[0]); break;
        case DRAW_AS_IS: draw_as_is(s->outputs, x, noise); break;
        case DRAW_OWN: draw_own(s->outputs, x, noise, c[0], c[1]); break;
        case ARGMAX: {
            const int64_t index = argmax(s->outputs, x + s->inputs);
            memcpy((char *)action + (size_t)c[0] * sizeof index, &index, sizeof index);
            break;
        }
        }
    }
    if (!p->is_discrete) {
        memcpy(action, x, (size_t)p->actions * sizeof *x);
    }
}

typedef void run_function(const struct policy *, const float *, const float *, void *, float *);

static void run_portable(const struct policy *p, const float *observation, const float *noise,
                         void *action, float *scratch)
{
    run_with(p, observation, noise, action, scratch, float_blocks, integer_blocks, quantize);
}

#ifdef HAS_X86
AVX2 static void run_avx2(const struct policy *p, const float *observation, const float *noise,
                     void *action, float *scratch)
{
    run_with(p, observation, noise, action, scratch, float_avx2, integer_avx2, quantize_avx2);
}

AVX_VNNI static void run_avxvnni(const struct policy *p, const float *observation, const float *noise,
                        void *action, float *scratch)
{
    run_with(p, observation, noise, action, scratch, float_avx2, integer_avxvnni, quantize_avx2);
}

AVX512 static void run_avx512(const struct policy *p, const float *observation, const float *noise,
                       void *action, float *scratch)
{
    run_with(p, observation, noise, action, scratch, float_avx512, integer_avx512, quantize_avx512);
}

static run_function *const RUN[] = {run_portable, run_avx2, run_avxvnni, run_avx512};
#elif defined(HAS_ARM)
DOT static void run_dot(const struct policy *p, const float *observation, const float *noise,
                        void *action, float *scratch)
{
    run_with(p, observation, noise, action, scratch, float_blocks, integer_dot, quantize);
}

static run_function *const RUN[] = {[0] = run_portable, [4] = run_dot};
#else
static run_function *const RUN[] = {run_portable};
#endif

/* A bit for each entry of RUN that this processor can run. */
int levels(void)
{
#if defined(HAS_X86) || defined(HAS_ARM)
    return vectors();
#else
    return 1;
#endif
}

static int run_rows(const struct policy *p, const float *observations, const float *noise,
                    char *actions, ptrdiff_t rows)
{
    void *memory = NULL;
    if (posix_memalign(&memory, 64, (size_t)p->width * 18)) {
        return -1;
    }
    const size_t size = (size_t)p->actions * (p->is_discrete ? sizeof(int64_t) : sizeof(float));
    run_function *const run = RUN[p->level];
    for (ptrdiff_t row = 0; row < rows; row++) {
        run(p, observations + row * p->observations, noise + row * p->noise,
            actions + (size_t)row * size, memory);
    }
    free(memory);
    return 0;
}

/* Seconds of `times` decisions, on the rows of the observations in turn, each with the same noise. */
double seconds(const struct policy *p, const float *observations, const float *noise,
               ptrdiff_t rows, ptrdiff_t times)
{
    void *memory = NULL;
    void *action = NULL;
    if (posix_memalign(&memory, 64, (size_t)p->width * 18) ||
        posix_memalign(&action, 64, (size_t)p->width * 8)) {
        return -1.0;
    }
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (ptrdiff_t i = 0, row = 0; i < times; i++, row = row + 1 < rows ? row + 1 : 0) {
        RUN[p->level](p, observations + row * p->observations, noise, action, memory);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    free(memory);
    free(action);
    return (double)(end.tv_sec - start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec);
}

/* Python's stable ABI, of version 3.11 and later; with it no header of Python is needed. */

typedef struct _object PyObject;

typedef struct {
    void *buf;
    PyObject *obj;
    ptrdiff_t len;
    ptrdiff_t itemsize;
    int readonly;
    int ndim;
    char *format;
    ptrdiff_t *shape;
    ptrdiff_t *strides;
    ptrdiff_t *suboffsets;
    void *internal;
} Py_buffer;

typedef struct {
    const char *name;
    PyObject *(*function)(PyObject *, PyObject *);
    int flags;
    const char *doc;
} PyMethodDef;

extern PyObject *PyCapsule_New(void *, const char *, void (*)(PyObject *));
extern void *PyCapsule_GetPointer(PyObject *, const char *);
extern PyObject *PyCFunction_NewEx(PyMethodDef *, PyObject *, PyObject *);
extern PyObject *PyObject_CallFunctionObjArgs(PyObject *, ...);
extern PyObject *PyTuple_Pack(ptrdiff_t, ...);
extern PyObject *PyTuple_GetItem(PyObject *, ptrdiff_t);
extern int PyObject_GetBuffer(PyObject *, Py_buffer *, int);
extern void PyBuffer_Release(Py_buffer *);
extern void PyErr_Clear(void);
extern PyObject *PyErr_NoMemory(void);
extern void *PyEval_SaveThread(void);
extern void PyEval_RestoreThread(void *);
extern void Py_IncRef(PyObject *);
extern void Py_DecRef(PyObject *);
extern PyObject _Py_NoneStruct;

enum { WRITABLE = 0x0001, FORMAT = 0x0004, CONTIGUOUS = 0x0020 | 0x0010 | 0x0008 };

static const struct policy *policy_of(PyObject *self)
{
    return PyCapsule_GetPointer(PyTuple_GetItem(self, 0), NULL);
}

static PyObject *none(void)
{
    Py_IncRef(&_Py_NoneStruct);
    return &_Py_NoneStruct;
}

/* The action of an array with one observation; None for anything else, or if it is drawn. */
static PyObject *act_one(PyObject *self, PyObject *observations)
{
    const struct policy *p = policy_of(self);
    Py_buffer given;
    if (p->noise) {
        return none();
    }
    if (PyObject_GetBuffer(observations, &given, CONTIGUOUS | FORMAT)) {
        PyErr_Clear();
        return none();
    }
    int fits = given.format[0] == 'f' && given.format[1] == '\0' && given.ndim == p->dimensions &&
               given.shape[0] == 1;
    for (int i = 1; fits && i < given.ndim; i++) {
        fits = given.shape[i] == p->shape[i - 1];
    }
    if (!fits) {
        PyBuffer_Release(&given);
        return none();
    }
    PyObject *actions = PyObject_CallFunctionObjArgs(
        PyTuple_GetItem(self, 1), PyTuple_GetItem(self, 2), PyTuple_GetItem(self, 3), NULL);
    Py_buffer made;
    if (actions && PyObject_GetBuffer(actions, &made, CONTIGUOUS | WRITABLE)) {
        Py_DecRef(actions);
        actions = NULL;
    }
    if (actions) {
        RUN[p->level](p, given.buf, NULL, made.buf, p->scratch);
        PyBuffer_Release(&made);
    }
    PyBuffer_Release(&given);
    return actions;
}

/* Actions of any number of observations: (observations, noise, actions), float32 or int64 in C order
   and checked by the caller. Other threads of Python go on meanwhile. */
static PyObject *act_rows(PyObject *self, PyObject *arguments)
{
    const struct policy *p = policy_of(self);
    Py_buffer buffer[3];
    for (int i = 0; i < 3; i++) {
        const int flags = i < 2 ? CONTIGUOUS : CONTIGUOUS | WRITABLE;
        if (PyObject_GetBuffer(PyTuple_GetItem(arguments, i), &buffer[i], flags)) {
            while (i-- > 0) {
                PyBuffer_Release(&buffer[i]);
            }
            return NULL;
        }
    }
    const ptrdiff_t rows = buffer[0].len / ((ptrdiff_t)sizeof(float) * p->observations);
    void *thread = PyEval_SaveThread();
    const int failed = run_rows(p, buffer[0].buf, buffer[1].buf, buffer[2].buf, rows);
    PyEval_RestoreThread(thread);
    for (int i = 0; i < 3; i++) {
        PyBuffer_Release(&buffer[i]);
    }
    return failed ? PyErr_NoMemory() : none();
}

/* The two functions above, for a policy. They keep what they are given alive: `empty`, `shape` and
   `dtype` make the array of one action, `memory` holds the policy. */
PyObject *functions(void *policy, PyObject *empty, PyObject *shape, PyObject *dtype,
                    PyObject *memory)
{
    static PyMethodDef one = {"act_one", act_one, 0x0008, NULL};
    static PyMethodDef rows = {"act_rows", act_rows, 0x0001, NULL};
    PyObject *capsule = PyCapsule_New(policy, NULL, NULL);
    PyObject *self = PyTuple_Pack(5, capsule, empty, shape, dtype, memory);
    return PyTuple_Pack(2, PyCFunction_NewEx(&one, self, NULL), PyCFunction_NewEx(&rows, self, NULL));
}
