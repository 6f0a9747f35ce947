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

#ifdef HAS_ARM
DOT static void act_dot(const float *observation, @NOISE@@TYPE@ *action)
{
    act_with(observation, @GIVEN@action, @DOT@);
}
#endif

@ACT@{
#if defined(HAS_X86) || defined(HAS_ARM)
    /* Found out once. Threads that come here at the same time find the same. */
    static int found;
    int known = __atomic_load_n(&found, __ATOMIC_RELAXED);
    if (!known) {
        known = vectors();
        __atomic_store_n(&found, known, __ATOMIC_RELAXED);
    }
#endif
#if defined(HAS_X86)
    if (known & 8) {
        act_avx512(observation, @GIVEN@action);
    } else if (known & 4) {
        act_avxvnni(observation, @GIVEN@action);
    } else if (known & 2) {
        act_avx2(observation, @GIVEN@action);
    } else {
        act_portable(observation, @GIVEN@action);
    }
#elif defined(HAS_ARM)
    if (known & 16) {
        act_dot(observation, @GIVEN@action);
    } else {
        act_portable(observation, @GIVEN@action);
    }
#else
    act_portable(observation, @GIVEN@action);
#endif
}
