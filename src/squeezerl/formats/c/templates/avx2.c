#if !defined(__x86_64__) || !defined(__GNUC__)
#error "This program is for x86-64 processors with AVX2; it needs GCC or Clang."
#endif

KERNEL void act_with(const float *observation, @NOISE@@TYPE@ *action, float_function *floats,
                     integer_function *integers, quantize_function *quantizes)
{
@UNUSED@@BODY@}

AVX2 @ACT@{
    act_with(observation, @GIVEN@action, @AVX2@);
}
