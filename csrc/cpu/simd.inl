// Vectors as wide as the registers of the instruction set (MV_VECTOR_BYTES), for the kernels whose speed
// rests on keeping a tile in registers. Loops over single elements are left to the compiler.

#define MV_INLINE inline __attribute__((always_inline))

template <class T>
struct VectorOf {
  typedef T type __attribute__((vector_size(MV_VECTOR_BYTES)));
};
template <class T>
using Vec = typename VectorOf<T>::type;

template <class T>
constexpr int kLanes = MV_VECTOR_BYTES / static_cast<int>(sizeof(T));

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

// The first `count` elements, then zeros.
template <class T>
MV_INLINE Vec<T> load_first(const T* p, Index count) {
  Vec<T> v{};
  __builtin_memcpy(&v, p, static_cast<std::size_t>(count) * sizeof(T));
  return v;
}

// Stores that leave the caches alone, where the machine has them; p must be one that can_stream.
// finish_streams orders them before whatever the thread does next.
template <class T>
MV_INLINE bool can_stream(const T* p) {
  return reinterpret_cast<std::uintptr_t>(p) % MV_VECTOR_BYTES == 0;
}
#if MV_VECTOR_BYTES == 64
MV_INLINE void store_past_caches(float* p, Vec<float> v) { _mm512_stream_ps(p, v); }
MV_INLINE void store_past_caches(double* p, Vec<double> v) { _mm512_stream_pd(p, v); }
MV_INLINE void finish_streams() { _mm_sfence(); }
#elif MV_VECTOR_BYTES == 32
MV_INLINE void store_past_caches(float* p, Vec<float> v) { _mm256_stream_ps(p, v); }
MV_INLINE void store_past_caches(double* p, Vec<double> v) { _mm256_stream_pd(p, v); }
MV_INLINE void finish_streams() { _mm_sfence(); }
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
#else
  (void)v;
#endif
}

// Asks for the cache line of p without waiting; p need not be a valid address.
MV_INLINE void fetch_ahead(const void* p) { __builtin_prefetch(p, 0, 2); }

// One element in every lane.
template <class T>
MV_INLINE Vec<T> splat(T x) {
  return x - Vec<T>{};  // x - 0 is x, the sign of zero included
}

// a * b + c, rounded once where the instruction set can.
#if MV_VECTOR_BYTES == 64
MV_INLINE Vec<float> multiply_add(Vec<float> a, Vec<float> b, Vec<float> c) { return _mm512_fmadd_ps(a, b, c); }
MV_INLINE Vec<double> multiply_add(Vec<double> a, Vec<double> b, Vec<double> c) { return _mm512_fmadd_pd(a, b, c); }
#elif MV_VECTOR_BYTES == 32
MV_INLINE Vec<float> multiply_add(Vec<float> a, Vec<float> b, Vec<float> c) { return _mm256_fmadd_ps(a, b, c); }
MV_INLINE Vec<double> multiply_add(Vec<double> a, Vec<double> b, Vec<double> c) { return _mm256_fmadd_pd(a, b, c); }
#else
MV_INLINE Vec<float> multiply_add(Vec<float> a, Vec<float> b, Vec<float> c) { return a * b + c; }
MV_INLINE Vec<double> multiply_add(Vec<double> a, Vec<double> b, Vec<double> c) { return a * b + c; }
#endif

// Two vectors merged: lane l is a[l] where bit H of l is clear and b[l - H] where it is set (kLow), or
// a[l + H] and b[l] (kHigh). These are the two halves of one swap of H x H blocks in a transposition.
template <class T, int H, bool High>
MV_INLINE Vec<T> merge(Vec<T> a, Vec<T> b) {
  using Lane = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
  Vec<Lane> pick;
  for (int l = 0; l < kLanes<T>; ++l) {
    const int from = High ? (l & H ? kLanes<T> + l : l + H) : (l & H ? kLanes<T> + l - H : l);
    pick[l] = from;
  }
#if defined(__clang__)
  Vec<T> out;
  for (int l = 0; l < kLanes<T>; ++l) out[l] = pick[l] < kLanes<T> ? a[pick[l]] : b[pick[l] - kLanes<T>];
  return out;
#else
  return __builtin_shuffle(a, b, pick);
#endif
}

template <class T, int H>
MV_INLINE void transpose_blocks(Vec<T>* rows) {
  if constexpr (H >= 1) {
#pragma GCC unroll 16
    for (int i = 0; i < kLanes<T>; ++i) {
      if (i & H) continue;
      const Vec<T> a = rows[i], b = rows[i + H];
      rows[i] = merge<T, H, false>(a, b);
      rows[i + H] = merge<T, H, true>(a, b);
    }
    transpose_blocks<T, H / 2>(rows);
  }
}

// rows[i][j] becomes rows[j][i], kLanes x kLanes, in log2(kLanes) rounds of swapped blocks.
template <class T>
MV_INLINE void transpose(Vec<T>* rows) {
  transpose_blocks<T, kLanes<T> / 2>(rows);
}

// Lane l of the result is the sum of all lanes of rows[l]. The order of the additions is the same for
// every l: it is a transposition that adds the two halves of each swap instead of keeping both.
template <class T, int H = kLanes<T> / 2>
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
