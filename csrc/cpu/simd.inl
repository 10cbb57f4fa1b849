// Vectors as wide as the registers of the instruction set (MV_VECTOR_BYTES), for the kernels whose speed
// rests on keeping a tile in registers. Loops over single elements are left to the compiler.

#define MV_INLINE inline __attribute__((always_inline))

template <class T>
struct VectorOf {
  typedef T type __attribute__((vector_size(MV_VECTOR_BYTES)));
};
template <class T>
using Vec = typename VectorOf<T>::type;

// As many integers, of the same width: lane numbers and masks.
template <class T>
using Bits = Vec<std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>>;

#if MV_VECTOR_BYTES == 64 || defined(MV_NEON)
constexpr int kVectorRegisters = 32;
#else
constexpr int kVectorRegisters = 16;
#endif

template <class T>
constexpr int kVectorLanes = MV_VECTOR_BYTES / static_cast<int>(sizeof(T));

template <class T>
MV_INLINE Vec<T> load(const T* p) {
  Vec<T> v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

template <class T>
MV_INLINE void store(T* p, Vec<T> v) {
  __builtin_memcpy(p, &v, sizeof v);
}

// Stores that bypass the caches, where the machine has them; can_stream(p) has to hold.
// finish_streams orders them before whatever the thread does next.
template <class T>
MV_INLINE bool can_stream(const T* p) {
  return reinterpret_cast<std::uintptr_t>(p) % MV_VECTOR_BYTES == 0;
}
// How many elements of an array at p come before the first vector that can_stream.
template <class T>
MV_INLINE Index to_alignment(const T* p) {
  const Index past = static_cast<Index>(reinterpret_cast<std::uintptr_t>(p) % MV_VECTOR_BYTES / sizeof(T));
  return past > 0 ? kVectorLanes<T> - past : 0;
}
#if MV_VECTOR_BYTES == 64
MV_INLINE void store_past_caches(float* p, Vec<float> v) {
  _mm512_stream_ps(p, v);
}
MV_INLINE void store_past_caches(double* p, Vec<double> v) {
  _mm512_stream_pd(p, v);
}
MV_INLINE void finish_streams() {
  _mm_sfence();
}
#elif MV_VECTOR_BYTES == 32
MV_INLINE void store_past_caches(float* p, Vec<float> v) {
  _mm256_stream_ps(p, v);
}
MV_INLINE void store_past_caches(double* p, Vec<double> v) {
  _mm256_stream_pd(p, v);
}
MV_INLINE void finish_streams() {
  _mm_sfence();
}
#else
template <class T>
MV_INLINE void store_past_caches(T* p, Vec<T> v) {
  store(p, v);
}
MV_INLINE void finish_streams() {}
#endif

// Stops the compiler from loading v anew for each use.
template <class V>
MV_INLINE void keep_in_register(V& v) {
#if MV_VECTOR_BYTES >= 32
  asm("" : "+v"(v));
#elif defined(MV_NEON)
  asm volatile("" : "+w"(v));
#else
  (void)v;
#endif
}

// Asks for the cache line of p without waiting; p need not be a valid address.
MV_INLINE void fetch_ahead(const void* p) {
  __builtin_prefetch(p, 0, 2);
}

// One element in every lane.
template <class T>
MV_INLINE Vec<T> splat(T x) {
  return x - Vec<T>{};  // x - 0 is x, the sign of zero included
}

// p[i] in every lane, to multiply by. NEON multiplies by one lane of a register: the vector around p[i] is
// loaded, once, into `group`, for calls with i = 0, 1 .. in turn.
template <class T>
MV_INLINE Vec<T> factor(const T* p, int i, [[maybe_unused]] Vec<T>& group) {
#if defined(MV_NEON)
  if (i % kVectorLanes<T> == 0) {
    group = load(p + i);
    keep_in_register(group);
  }
  return splat(group[i % kVectorLanes<T>]);
#else
  return splat(p[i]);
#endif
}

// a * b + c, rounded once where the instruction set can.
#if MV_VECTOR_BYTES == 64
MV_INLINE Vec<float> multiply_add(Vec<float> a, Vec<float> b, Vec<float> c) {
  return _mm512_fmadd_ps(a, b, c);
}
MV_INLINE Vec<double> multiply_add(Vec<double> a, Vec<double> b, Vec<double> c) {
  return _mm512_fmadd_pd(a, b, c);
}
#elif MV_VECTOR_BYTES == 32
MV_INLINE Vec<float> multiply_add(Vec<float> a, Vec<float> b, Vec<float> c) {
  return _mm256_fmadd_ps(a, b, c);
}
MV_INLINE Vec<double> multiply_add(Vec<double> a, Vec<double> b, Vec<double> c) {
  return _mm256_fmadd_pd(a, b, c);
}
#elif defined(MV_NEON)
MV_INLINE Vec<float> multiply_add(Vec<float> a, Vec<float> b, Vec<float> c) {
  return vfmaq_f32(c, a, b);
}
MV_INLINE Vec<double> multiply_add(Vec<double> a, Vec<double> b, Vec<double> c) {
  return vfmaq_f64(c, a, b);
}
#else
MV_INLINE Vec<float> multiply_add(Vec<float> a, Vec<float> b, Vec<float> c) {
  return a * b + c;
}
MV_INLINE Vec<double> multiply_add(Vec<double> a, Vec<double> b, Vec<double> c) {
  return a * b + c;
}
#endif

// Lane l is lane pick[l] of a followed by b.
template <class T>
MV_INLINE Vec<T> shuffle(Vec<T> a, Vec<T> b, Bits<T> pick) {
#if defined(__clang__)
  Vec<T> out;
  for (int l = 0; l < kVectorLanes<T>; ++l) {
    out[l] = pick[l] < kVectorLanes<T> ? a[pick[l]] : b[pick[l] - kVectorLanes<T>];
  }
  return out;
#else
  return __builtin_shuffle(a, b, pick);
#endif
}

template <class T, class From>
MV_INLINE Bits<T> lanes(From from) {
  Bits<T> pick;
#pragma GCC unroll 16
  for (int l = 0; l < kVectorLanes<T>; ++l) pick[l] = from(l);
  return pick;
}

// The even elements of a followed by b, or the odd ones.
template <int First, class T>
MV_INLINE Vec<T> every_other(Vec<T> a, Vec<T> b) {
  return shuffle<T>(a, b, lanes<T>([](int l) { return 2 * l + First; }));
}

// a[0] b[0] a[1] b[1] ..: the first half, and the second.
template <class T>
MV_INLINE Vec<T> zip_low(Vec<T> a, Vec<T> b) {
  return shuffle<T>(a, b, lanes<T>([](int l) { return l / 2 + l % 2 * kVectorLanes<T>; }));
}
template <class T>
MV_INLINE Vec<T> zip_high(Vec<T> a, Vec<T> b) {
  return shuffle<T>(a, b,
                    lanes<T>([](int l) { return (l + kVectorLanes<T>) / 2 + l % 2 * kVectorLanes<T>; }));
}

// Some lanes of a vector. Memory of the other lanes is not touched: they load as 0.
#if MV_VECTOR_BYTES == 64
template <class T>
using Mask = std::conditional_t<sizeof(T) == 4, __mmask16, __mmask8>;
template <class T>
MV_INLINE Mask<T> first_lanes(Index count) {
  return static_cast<Mask<T>>((1u << count) - 1);
}
MV_INLINE Vec<float> load_lanes(const float* p, __mmask16 m) {
  return _mm512_maskz_loadu_ps(m, p);
}
MV_INLINE Vec<double> load_lanes(const double* p, __mmask8 m) {
  return _mm512_maskz_loadu_pd(m, p);
}
MV_INLINE void store_lanes(float* p, Vec<float> v, __mmask16 m) {
  _mm512_mask_storeu_ps(p, m, v);
}
MV_INLINE void store_lanes(double* p, Vec<double> v, __mmask8 m) {
  _mm512_mask_storeu_pd(p, m, v);
}
#else
template <class T>
using Mask = Bits<T>;
template <class T>
MV_INLINE Mask<T> first_lanes(Index count) {
  return lanes<T>([](int l) { return l; }) <
         static_cast<std::conditional_t<sizeof(T) == 4, int, Index>>(count);
}
#if MV_VECTOR_BYTES == 32
MV_INLINE Vec<float> load_lanes(const float* p, Mask<float> m) {
  return _mm256_maskload_ps(p, (__m256i)m);
}
MV_INLINE Vec<double> load_lanes(const double* p, Mask<double> m) {
  return _mm256_maskload_pd(p, (__m256i)m);
}
MV_INLINE void store_lanes(float* p, Vec<float> v, Mask<float> m) {
  _mm256_maskstore_ps(p, (__m256i)m, v);
}
MV_INLINE void store_lanes(double* p, Vec<double> v, Mask<double> m) {
  _mm256_maskstore_pd(p, (__m256i)m, v);
}
#else
template <class T>
MV_INLINE Vec<T> load_lanes(const T* p, Mask<T> m) {
  Vec<T> v;
  for (int l = 0; l < kVectorLanes<T>; ++l) v[l] = m[l] ? p[l] : T(0);
  return v;
}
template <class T>
MV_INLINE void store_lanes(T* p, Vec<T> v, Mask<T> m) {
  for (int l = 0; l < kVectorLanes<T>; ++l) {
    if (m[l]) p[l] = v[l];
  }
}
#endif
#endif

// One swap of H x H blocks in a transposition gives, for the rows a and b, H apart: lane l is a[l] where
// bit H of l is clear and b[l - H] where it is set, or (High) a[l + H] and b[l].
template <class T, int H, bool High>
MV_INLINE Vec<T> merge(Vec<T> a, Vec<T> b) {
  constexpr int L = kVectorLanes<T>;
  return shuffle<T>(a, b, lanes<T>([](int l) {
                      return High ? (l & H ? L + l : l + H) : l & H ? L + l - H : l;
                    }));
}

template <class T, int H>
MV_INLINE void transpose_blocks(Vec<T>* rows) {
  if constexpr (H >= 1) {
#pragma GCC unroll 16
    for (int i = 0; i < kVectorLanes<T>; ++i) {
      if (i & H) continue;
      const Vec<T> a = rows[i], b = rows[i + H];
      rows[i] = merge<T, H, false>(a, b);
      rows[i + H] = merge<T, H, true>(a, b);
    }
    transpose_blocks<T, H / 2>(rows);
  }
}

// rows[i][j] becomes rows[j][i], kVectorLanes x kVectorLanes, in log2(kVectorLanes) rounds of swapped blocks.
template <class T>
MV_INLINE void transpose(Vec<T>* rows) {
  transpose_blocks<T, kVectorLanes<T> / 2>(rows);
}

// Lane l of the result is the sum of all lanes of rows[l]. The order of the additions is the same for
// every l: it is a transposition that adds the two halves of each swap instead of keeping both.
template <class T, int H = kVectorLanes<T> / 2>
MV_INLINE Vec<T> sum_each(Vec<T>* rows) {
  if constexpr (H == 0) {
    return rows[0];
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < H; ++i) {
      const Vec<T> a = rows[i], b = rows[i + H];
      rows[i] = merge<T, H, false>(a, b) + merge<T, H, true>(a, b);
    }
    return sum_each<T, H / 2>(rows);
  }
}
