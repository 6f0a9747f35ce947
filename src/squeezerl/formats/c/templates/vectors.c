KERNEL void act_with(const float *observation, @NOISE@@TYPE@ *action, float_function *floats,
                     integer_function *integers, quantize_function *quantizes)
{
@UNUSED@@BODY@}

static void act_portable(const float *observation, @NOISE@@TYPE@ *action)
{
    act_with(observation, @GIVEN@action, @PORTABLE@);
}

#ifdef HAS_X86
AVX2 static void act_avx2(const float *observation, @NOISE@@TYPE@ *action)
{
    act_with(observation, @GIVEN@action, @AVX2@);
}

AVX_VNNI static void act_avxvnni(const float *observation, @NOISE@@TYPE@ *action)
{
    act_with(observation, @GIVEN@action, @AVXVNNI@);
}

AVX512 static void act_avx512(const float *observation, @NOISE@@TYPE@ *action)
{
    act_with(observation, @GIVEN@action, @AVX512@);
}
#endif

@ACT@{
#ifdef HAS_X86
    /* Found out once. Threads that come here at the same time find the same. */
    static int found;
    int known = __atomic_load_n(&found, __ATOMIC_RELAXED);
    if (!known) {
        known = vectors();
        __atomic_store_n(&found, known, __ATOMIC_RELAXED);
    }
    if (known & 8) {
        act_avx512(observation, @GIVEN@action);
    } else if (known & 4) {
        act_avxvnni(observation, @GIVEN@action);
    } else if (known & 2) {
        act_avx2(observation, @GIVEN@action);
    } else {
        act_portable(observation, @GIVEN@action);
    }
#else
    act_portable(observation, @GIVEN@action);
#endif
}
