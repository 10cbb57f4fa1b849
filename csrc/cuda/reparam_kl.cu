// z = mu + exp(logvar / 2) eps with the rows' KL, and their gradients: six versions, each with one
// idea more than the one before. The arithmetic of an element is csrc/math/reparam_kl.h in all, in float
// with the exponential and the normal numbers of csrc/math/fast_float.h.
//
//       idea                                          bytes forward   backward   limited by (predicted)
//   v1  a kernel for each output: the formulas        24 + 4/D        28 + 8/D   memory
//   v2  a block per row: what outputs share is        16 + 4/D        24 + 4/D   memory
//       read once, rows add up in shared memory
//   v3  a warp per row: no barrier                    16 + 4/D        24 + 4/D   memory
//   v4  quads of elements: 128-bit accesses           16 + 4/D        24 + 4/D   memory
//   v5  noise drawn inside: eps is never in memory    12 + 4/D        20 + 4/D   instructions
//   v6  whole rows: no index arithmetic, no branch    12 + 4/D        20 + 4/D   instructions up to D = 128
//
// Bytes are per element in float32; 4/D is kl or dkl, which both kernels of v1 read backward. Limits are those
// of large arrays: on small ones it is the launch in all versions.
#include "cuda/reparam_kl.h"

#include "cuda/launch.h"
#include "cuda/noise.cuh"
#include "cuda/quad.cuh"
#include "cuda/reduce.cuh"
#include "cuda/refuse_version.h"
#include "math/reparam_kl.h"

namespace minivae {
namespace {

__device__ __forceinline__ Index thread_number() {
  return Index(blockIdx.x) * blockDim.x + threadIdx.x;
}

// ---- v1: a kernel for each output ---------------------------------------------------------------
// A thread per element of z, dmu or dlogvar. A row's sum is the loop of one thread, so neighbouring
// threads read D elements apart: each fetches a sector of 32 bytes for the 4 it wants, and a batch
// of 128 rows keeps four warps busy on a GPU that holds thousands.

template <class T>
__global__ void sample_v1(const T* mu, const T* logvar, const T* eps, T* z, Index count) {
  const Index i = thread_number();
  if (i < count) z[i] = reparameterize(mu[i], fast_deviation_of(logvar[i]), eps[i]);
}

template <class T>
__global__ void divergence_v1(const T* mu, const T* logvar, T* kl, Index N, Index D) {
  const Index row = thread_number();
  if (row >= N) return;
  double sum = 0;
  for (Index i = row * D; i < (row + 1) * D; ++i)
    sum += kl_element(mu[i], logvar[i], fast_deviation_of(logvar[i]));
  kl[row] = static_cast<T>(sum);
}

template <class T>
__global__ void mean_gradient_v1(const T* mu, const T* dz, const T* dkl, T* dmu, Index count, Index D) {
  const Index i = thread_number();
  if (i >= count) return;
  T unused;
  reparam_kl_gradient(mu[i], Deviation<T>{}, T(0), dz[i], dkl[i / D], dmu[i], unused);
}

template <class T>
__global__ void logvar_gradient_v1(const T* logvar, const T* eps, const T* dz, const T* dkl, T* dlogvar,
                                   Index count, Index D) {
  const Index i = thread_number();
  if (i >= count) return;
  T unused;
  reparam_kl_gradient(T(0), fast_deviation_of(logvar[i]), eps[i], dz[i], dkl[i / D], unused, dlogvar[i]);
}

// ---- v2: a block per row -------------------------------------------------------------------------
// Wrong with v1: mu, logvar and dz are read twice, the loop over a row reads past its
// neighbours, and i / D is a 64-bit division for every element. Change: the threads of a block walk
// along one row together and make all outputs from one reading. Gain: 16 bytes for 24 and 24 for
// 28, whole sectors, and the row's number for free.

template <class T>
__global__ void forward_v2(const T* mu, const T* logvar, const T* eps, T* z, T* kl, Index D) {
  const Index row = blockIdx.x;
  double sum = 0;
  for (Index i = row * D + threadIdx.x; i < (row + 1) * D; i += blockDim.x) {
    const Deviation<T> s = fast_deviation_of(logvar[i]);
    z[i] = reparameterize(mu[i], s, eps[i]);
    sum += kl_element(mu[i], logvar[i], s);
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) kl[row] = static_cast<T>(sum);
}

template <class T>
__global__ void backward_v2(const T* mu, const T* logvar, const T* eps, const T* dz, const T* dkl, T* dmu,
                            T* dlogvar, Index D) {
  const Index row = blockIdx.x;
  const T gradient = dkl[row];
  for (Index i = row * D + threadIdx.x; i < (row + 1) * D; i += blockDim.x) {
    reparam_kl_gradient(mu[i], fast_deviation_of(logvar[i]), eps[i], dz[i], gradient, dmu[i], dlogvar[i]);
  }
}

// ---- v3: a warp per row --------------------------------------------------------------------------
// Wrong with v2: a row of latents has 20 to 512 elements and a block 256 threads, so most of them
// wait at the barrier for the few that have work. Change: 32 threads per row, which exchange their
// sums in registers. Gain: a block's threads serve eight rows, without barriers or shared memory.

template <class T>
__global__ void forward_v3(const T* mu, const T* logvar, const T* eps, T* z, T* kl, Index N, Index D) {
  const Index row = thread_number() / kWarp;
  if (row >= N) return;  // the whole warp
  const int lane = threadIdx.x % kWarp;
  double sum = 0;
  for (Index i = row * D + lane; i < (row + 1) * D; i += kWarp) {
    const Deviation<T> s = fast_deviation_of(logvar[i]);
    z[i] = reparameterize(mu[i], s, eps[i]);
    sum += kl_element(mu[i], logvar[i], s);
  }
  sum = lane_sum(sum);
  if (lane == 0) kl[row] = static_cast<T>(sum);
}

template <class T>
__global__ void backward_v3(const T* mu, const T* logvar, const T* eps, const T* dz, const T* dkl, T* dmu,
                            T* dlogvar, Index N, Index D) {
  const Index row = thread_number() / kWarp;
  if (row >= N) return;
  const T gradient = dkl[row];
  for (Index i = row * D + threadIdx.x % kWarp; i < (row + 1) * D; i += kWarp) {
    reparam_kl_gradient(mu[i], fast_deviation_of(logvar[i]), eps[i], dz[i], gradient, dmu[i], dlogvar[i]);
  }
}

// ---- v4: quads -----------------------------------------------------------------------------------
// Wrong with v3: 4 bytes per access, so a thread has 12 bytes under way where the memory's latency
// wants more, and a row of 20 leaves 12 lanes idle. Change: four elements per access (two accesses in
// double), and 1 to 32 lanes per row, so that a warp may serve several rows. Gain: a quarter of the
// instructions for the same bytes. Quads are counted from the beginning of the array
// (cuda/launch_geometry.h), so a row that is no multiple of four begins and ends with part of one.

// ---- v5: noise drawn inside ----------------------------------------------------------------------
// Wrong with v4: eps is written once and read twice, and is nothing but Philox of the element's
// number. Change: a quad is one Philox call, all four of its words used, and backward draws it again.
// Gain: 12 bytes for 16, 20 for 24, and no kernel and no memory for eps.

// ---- v6: whole rows ------------------------------------------------------------------------------
// Wrong with v5: with so few bytes it waits for instructions. An H200 has time for 335 of them while it
// moves the 48 bytes of a quad forward, by its datasheet; v5 takes 313, a fifth of them to find out which
// part of a quad is the row's and which words of which Philox calls are the quad's. Change: in rows of a
// multiple of four elements both are all four, and the compiler knows. Gain: 256 instructions and no
// branch but the loop's; backward 264 of 304 (docs/gpu-kernels.md says what they are for).

// ---- one pair of kernels for v4, v5 and v6 -------------------------------------------------------
// What a kernel may take for granted: nothing; that the arrays begin on 16-byte boundaries; and that
// so do their rows, which no quad and no Philox call crosses.
struct AnyRows {
  static constexpr bool kAligned = false, kWhole = false;
};
struct AlignedRows {
  static constexpr bool kAligned = true, kWhole = false;
};
struct WholeRows {
  static constexpr bool kAligned = true, kWhole = true;
};

template <class T>
bool rows_are_whole(Index D, const NoiseSource<T>& noise) {
  return D % 4 == 0 && (noise.eps || noise.draw.first % 4 == 0);
}

template <class F>
void launch_for(bool aligned, bool whole, F launch_rows) {
  if (aligned && whole) return launch_rows(WholeRows{});
  if (aligned) return launch_rows(AlignedRows{});
  return launch_rows(AnyRows{});
}

template <class Rows>
__device__ __forceinline__ QuadPart part_of_quad(Index quad, Index row, Index D) {
  return Rows::kWhole ? QuadPart{0, 4} : part_in_row(quad, row, D);
}

// Blocks of float on a multiprocessor. Five limit a thread to 48 registers, at the price of 5 instructions
// more than 256. A multiprocessor of Turing has room for four.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
constexpr int kFloatBlocks = 4;
#else
constexpr int kFloatBlocks = 5;
#endif
template <class T>
constexpr int kBlocks = sizeof(T) == sizeof(float) ? kFloatBlocks : 1;

template <bool kDraw, class Rows, class T>
__global__ __launch_bounds__(kThreads, kBlocks<T>)  // for the registers
    void forward_quads(const T* __restrict__ mu, const T* __restrict__ logvar, NoiseSource<T> noise,
                       T* __restrict__ z, T* __restrict__ kl, Index N, Index D, int lane_bits) {
  const Index row = thread_number() >> lane_bits;
  const int lanes = 1 << lane_bits, lane = threadIdx.x & (lanes - 1);
  double sum = 0;
  if (row < N) {
    const NoiseKey key = kDraw ? key_of(noise.draw) : NoiseKey{};
    const Quads quads = quads_of_row(row, D);
    for (Index q = quads.first + lane; q < quads.last; q += lanes) {
      const QuadPart part = part_of_quad<Rows>(q, row, D);
      const Quad<T> m = load_quad<Rows::kAligned>(mu, q, part),
                    l = load_quad<Rows::kAligned>(logvar, q, part);
      const Quad<T> e =
          kDraw ? normal_quad<T, Rows::kWhole>(key, q) : load_quad<Rows::kAligned>(noise.eps, q, part);
      Quad<T> out;
      T terms = 0;  // elements of other rows were loaded as zeros, and a kl of zeros is 0
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const Deviation<T> s = fast_deviation_of(l.x[j]);
        out.x[j] = reparameterize(m.x[j], s, e.x[j]);
        terms += kl_element(m.x[j], l.x[j], s);
      }
      store_quad<Rows::kAligned>(z, q, part, out);
      sum += terms;
    }
  }
  sum = lane_sum(sum, lanes);  // the whole warp, also lanes beyond the last row
  if (row < N && lane == 0) kl[row] = static_cast<T>(sum);
}

template <bool kDraw, class Rows, class T>
__global__ void backward_quads(const T* __restrict__ mu, const T* __restrict__ logvar, NoiseSource<T> noise,
                               const T* __restrict__ dz, const T* __restrict__ dkl, T* __restrict__ dmu,
                               T* __restrict__ dlogvar, Index N, Index D, int lane_bits) {
  const Index row = thread_number() >> lane_bits;
  if (row >= N) return;
  const int lanes = 1 << lane_bits, lane = threadIdx.x & (lanes - 1);
  const T gradient = dkl[row];
  const NoiseKey key = kDraw ? key_of(noise.draw) : NoiseKey{};
  const Quads quads = quads_of_row(row, D);
  for (Index q = quads.first + lane; q < quads.last; q += lanes) {
    const QuadPart part = part_of_quad<Rows>(q, row, D);
    const Quad<T> m = load_quad<Rows::kAligned>(mu, q, part), l = load_quad<Rows::kAligned>(logvar, q, part);
    const Quad<T> g = load_quad<Rows::kAligned>(dz, q, part);
    const Quad<T> e =
        kDraw ? normal_quad<T, Rows::kWhole>(key, q) : load_quad<Rows::kAligned>(noise.eps, q, part);
    Quad<T> gm, gl;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      reparam_kl_gradient(m.x[j], fast_deviation_of(l.x[j]), e.x[j], g.x[j], gradient, gm.x[j], gl.x[j]);
    }
    store_quad<Rows::kAligned>(dmu, q, part, gm);
    store_quad<Rows::kAligned>(dlogvar, q, part, gl);
  }
}

}  // namespace

template <class T>
void reparam_kl_forward(int version, const T* mu, const T* logvar, NoiseSource<T> noise, T* z, T* kl, Index N,
                        Index D, Stream stream) {
  const T* eps = noise.eps;
  const auto quads = [&](bool whole) {
    launch_for(quads_are_aligned(mu, logvar, eps, z), whole, [&](auto rows) {
      using Rows = decltype(rows);
      const int lanes = lanes_for_quads(D);
      const auto kernel = eps ? forward_quads<false, Rows, T> : forward_quads<true, Rows, T>;
      launch(kernel, lanes_per_row(N, lanes), stream, mu, logvar, noise, z, kl, N, D, exponent_of(lanes));
    });
  };
  switch (version) {
    case 1:
      launch(sample_v1<T>, over_elements(N * D), stream, mu, logvar, eps, z, N * D);
      return launch(divergence_v1<T>, over_elements(N), stream, mu, logvar, kl, N, D);
    case 2: return launch(forward_v2<T>, block_per_row(N), stream, mu, logvar, eps, z, kl, D);
    case 3: return launch(forward_v3<T>, lanes_per_row(N, kWarp), stream, mu, logvar, eps, z, kl, N, D);
    case 4:
    case 5: return quads(false);
    case 6: return quads(rows_are_whole(D, noise));
  }
  refuse_version(kReparamKlVersions, version);
}

template <class T>
void reparam_kl_backward(int version, const T* mu, const T* logvar, NoiseSource<T> noise, const T* dz,
                         const T* dkl, T* dmu, T* dlogvar, Index N, Index D, Stream stream) {
  const T* eps = noise.eps;
  const auto quads = [&](bool whole) {
    launch_for(quads_are_aligned(mu, logvar, eps, dz, dmu, dlogvar), whole, [&](auto rows) {
      using Rows = decltype(rows);
      const int lanes = lanes_for_quads(D);
      const auto kernel = eps ? backward_quads<false, Rows, T> : backward_quads<true, Rows, T>;
      launch(kernel, lanes_per_row(N, lanes), stream, mu, logvar, noise, dz, dkl, dmu, dlogvar, N, D,
             exponent_of(lanes));
    });
  };
  switch (version) {
    case 1:
      launch(mean_gradient_v1<T>, over_elements(N * D), stream, mu, dz, dkl, dmu, N * D, D);
      return launch(logvar_gradient_v1<T>, over_elements(N * D), stream, logvar, eps, dz, dkl, dlogvar, N * D,
                    D);
    case 2:
      return launch(backward_v2<T>, block_per_row(N), stream, mu, logvar, eps, dz, dkl, dmu, dlogvar, D);
    case 3:
      return launch(backward_v3<T>, lanes_per_row(N, kWarp), stream, mu, logvar, eps, dz, dkl, dmu, dlogvar,
                    N, D);
    case 4:
    case 5: return quads(false);
    case 6: return quads(rows_are_whole(D, noise));
  }
  refuse_version(kReparamKlVersions, version);
}

#define MV_INSTANTIATE(T)                                                                                  \
  template void reparam_kl_forward(int, const T*, const T*, NoiseSource<T>, T*, T*, Index, Index, Stream); \
  template void reparam_kl_backward(int, const T*, const T*, NoiseSource<T>, const T*, const T*, T*, T*,   \
                                    Index, Index, Stream);
MV_INSTANTIATE(float)
MV_INSTANTIATE(double)

}  // namespace minivae
