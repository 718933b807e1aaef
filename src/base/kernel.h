/* Loops that the compiler vectorises, each compiled for three widths of vector and chosen when called.
 * In:  a body: an FSM_CPU_BODY function of plain loops, with `#pragma omp simd` where iterations are independent.
 * Out: FSM_CPU_KERNEL(name, (parameters), (arguments)) defines the static function `name`, which runs name_body as
 *      compiled for AVX-512, for AVX2 with FMA, or for the baseline, whichever is the best this processor has.
 */
#ifndef FSM_BASE_KERNEL_H
#define FSM_BASE_KERNEL_H

#ifdef __clang__
#pragma clang diagnostic ignored "-Wpass-failed" /* a loop left scalar, as without optimisation, is no error */
#endif

/* Inlined into each version, so that it is compiled for that version's instructions. */
#define FSM_CPU_BODY static inline __attribute__((always_inline))

/* Not the compilers' target_clones: clang 14 drops levels of it silently, and ifuncs crash under a thread sanitizer. */
#if defined(__x86_64__)
#define FSM_CPU_KERNEL(name, parameters, arguments)                                                             \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))) static void name##_avx512 parameters \
    {                                                                                                           \
        name##_body arguments;                                                                                  \
    }                                                                                                           \
    __attribute__((target("avx2,fma"))) static void name##_avx2 parameters                                      \
    {                                                                                                           \
        name##_body arguments;                                                                                  \
    }                                                                                                           \
    static void name##_baseline parameters                                                                      \
    {                                                                                                           \
        name##_body arguments;                                                                                  \
    }                                                                                                           \
    static void name parameters                                                                                 \
    {                                                                                                           \
        if (__builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&                         \
            __builtin_cpu_supports("avx512bw"))                                                                 \
            name##_avx512 arguments;                                                                            \
        else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) name##_avx2 arguments;        \
        else name##_baseline arguments;                                                                         \
    }
#else
#define FSM_CPU_KERNEL(name, parameters, arguments) \
    static void name parameters                     \
    {                                               \
        name##_body arguments;                      \
    }
#endif

#endif
