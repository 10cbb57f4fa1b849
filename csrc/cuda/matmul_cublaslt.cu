// Matrix products by cuBLASLt, with a handle and a workspace of our own.
//
// Idea: CuPy's handle is refused while a stream is captured, because CuPy cannot know that its
// workspace outlives the graph; this one's does. The library sees matrices by columns, so our out = a b
// in rows is its out^T = b^T a^T, and a matrix in rows is its own transpose there: no strides are
// copied. The bias is the library's epilogue in float32; in double it has none, and bias_activation.cu
// follows. ReLU is relu.cu always: the library does not promise that its own keeps NaN.
//
// The first product of a kind asks the library which algorithm it would take, the bias included, whose
// alignment the choice may depend on; the answer is kept, so a repeated product costs the host one look-up,
// and a captured one always runs the same kernel. Kinds without an algorithm are counted, because
// matmul.cu computes them without a message.
#include <cstdint>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <tuple>

#include "cuda/bias_activation.h"
#include "cuda/cublaslt_library.h"
#include "cuda/device.h"
#include "cuda/matmul.h"
#include "cuda/relu.h"

namespace minivae {
namespace {

using namespace cublaslt;

std::mutex mutex;  // of everything below
bool tf32 = false;
int refused = 0;  // kinds of products that the library has no algorithm for

void check(Status status, const char* what) {
  if (status == 0) return;
  throw std::runtime_error(std::string("cuBLASLt: ") + what +
                           " failed: " + library().api.GetStatusString(status));
}

Handle handle_of(int device) {
  static std::map<int, Handle> handles;
  Handle& handle = handles[device];
  if (!handle) check(library().api.Create(&handle), "creating a handle");
  return handle;
}

// One for each stream, because products on two streams may run at the same time.
void* workspace_of(int device, Stream stream) {
  static std::map<std::pair<int, Stream>, void*> workspaces;
  void*& workspace = workspaces[{device, stream}];
  if (!workspace) workspace = lasting_memory(kCublasLtWorkspace);
  return workspace;
}

// A matrix as the library sees it: its columns are our rows if `turned` is false.
struct Seen {
  bool turned;
  Index ld;
};

// Of a matrix of rows x cols. False: neither stride is 1, or rows overlap; the library cannot see it.
template <class T>
bool see(const Matrix<T>& m, Index rows, Index cols, Seen& seen) {
  const Index row = rows == 1 ? cols : m.row, col = cols == 1 ? rows : m.col;  // unused strides are free
  if ((col == 1 || cols == 1) && row >= cols) {
    seen = {false, row};
    return true;
  }
  seen = {true, col};
  return (row == 1 || rows == 1) && col >= rows;
}

std::uint32_t alignment_of(const void* p) {
  const auto address = reinterpret_cast<std::uintptr_t>(p);
  std::uint32_t alignment = 256;
  while (address % alignment != 0) alignment /= 2;
  return alignment;
}

// What a product is, as far as the choice of an algorithm goes.
using Kind = std::tuple<int, int, int, int, Index, Index, Index, bool, Index, bool, Index, std::uint32_t,
                        std::uint32_t, std::uint32_t, std::uint32_t>;

struct Plan {
  MatmulDesc desc = nullptr;
  MatrixLayout left = nullptr, right = nullptr, out = nullptr;
  Algorithm algorithm{};
  bool possible = false;
};

void set(MatmulDesc desc, int attribute, int value) {
  check(library().api.MatmulDescSetAttribute(desc, attribute, &value, sizeof value), "describing a product");
}

template <class Number>
void set(Preference preference, int attribute, Number value) {
  check(library().api.MatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value),
        "setting a preference");
}

void set_bias(MatmulDesc desc, const void* bias) {
  check(library().api.MatmulDescSetAttribute(desc, kBiasPointer, &bias, sizeof bias), "naming the bias");
}

// The library's left operand is our b, its right one our a. `bias` is null where the epilogue has none.
Plan make_plan(Handle handle, int type, int compute, const void* bias, Index M, Index N, Index K,
               const Seen& a, const Seen& b, std::uint32_t align_a, std::uint32_t align_b,
               std::uint32_t align_out) {
  const Api& api = library().api;
  Plan plan;
  check(api.MatmulDescCreate(&plan.desc, compute, type), "describing a product");
  set(plan.desc, kTransposeA, b.turned ? kTransposed : kPlain);
  set(plan.desc, kTransposeB, a.turned ? kTransposed : kPlain);
  set(plan.desc, kEpilogue, bias ? kBias : kDefault);
  if (bias) set_bias(plan.desc, bias);
  const auto layout = [&](MatrixLayout& made, const Seen& m, Index rows, Index cols) {
    // Our rows are its columns.
    check(api.MatrixLayoutCreate(&made, type, static_cast<std::uint64_t>(m.turned ? rows : cols),
                                 static_cast<std::uint64_t>(m.turned ? cols : rows), m.ld),
          "describing a matrix");
  };
  layout(plan.left, b, K, N);
  layout(plan.right, a, M, K);
  layout(plan.out, {false, N}, M, N);
  Preference preference;
  check(api.MatmulPreferenceCreate(&preference), "making a preference");
  set(preference, kMaxWorkspace, std::uint64_t(kCublasLtWorkspace));
  set(preference, kAlignmentA, align_b);
  set(preference, kAlignmentB, align_a);
  set(preference, kAlignmentC, align_out);
  set(preference, kAlignmentD, align_out);
  Heuristic best{};
  int found = 0;
  const Status status = api.MatmulAlgoGetHeuristic(handle, plan.desc, plan.left, plan.right, plan.out,
                                                   plan.out, preference, 1, &best, &found);
  api.MatmulPreferenceDestroy(preference);
  plan.possible = status == 0 && found > 0;
  plan.algorithm = best.algorithm;
  return plan;
}

}  // namespace

CublasLtInfo cublaslt_info(const std::string& path) {
  const Library& found = library(path);
  const std::lock_guard<std::mutex> lock(mutex);
  return {!found.path.empty(),
          found.path,
          found.reason,
          found.path.empty() ? 0 : found.api.GetVersion(),
          tf32,
          refused};
}

void set_tf32(bool allow) {
  const std::lock_guard<std::mutex> lock(mutex);
  tf32 = allow;
}

template <class T>
bool matmul_cublaslt(const Product<T>& p, Stream stream) {
  constexpr bool kSingle = sizeof(T) == sizeof(float);
  Seen a, b;
  if (library().path.empty() || p.K == 0 || !see(p.a, p.M, p.K, a) || !see(p.b, p.K, p.N, b)) return false;
  if (p.M * p.N == 0) return true;
  const std::lock_guard<std::mutex> lock(mutex);
  const int device = current_device(), type = kSingle ? kReal32 : kReal64;
  const int compute = kSingle ? (tf32 ? kComputeTf32 : kCompute32) : kCompute64;
  const void* const bias = kSingle ? p.bias : nullptr;  // of the library's epilogue
  const std::uint32_t align_a = alignment_of(p.a.p), align_b = alignment_of(p.b.p),
                      align_out = alignment_of(p.out);
  static std::map<Kind, Plan> plans;
  const Handle handle = handle_of(device);
  const Kind kind{device,
                  type,
                  compute,
                  bias ? kBias : kDefault,
                  p.M,
                  p.N,
                  p.K,
                  a.turned,
                  a.ld,
                  b.turned,
                  b.ld,
                  align_a,
                  align_b,
                  align_out,
                  bias ? alignment_of(bias) : 0};
  auto known = plans.find(kind);
  if (known == plans.end()) {
    const Plan plan =
        make_plan(handle, type, compute, bias, p.M, p.N, p.K, a, b, align_a, align_b, align_out);
    refused += !plan.possible;
    known = plans.emplace(kind, plan).first;
  }
  const Plan& plan = known->second;
  if (!plan.possible) return false;
  const Api& api = library().api;
  if (bias) set_bias(plan.desc, bias);
  const T one = 1, zero = 0;
  check(
      api.Matmul(handle, plan.desc, &one, p.b.p, plan.left, p.a.p, plan.right, &zero, p.out, plan.out, p.out,
                 plan.out, &plan.algorithm, workspace_of(device, stream), kCublasLtWorkspace, stream),
      "a product");
  if (p.bias && !kSingle) {
    bias_activation(p.out, p.bias, p.rectify, p.out, {p.M, p.N, 1}, stream);
  } else if (p.rectify) {
    relu(p.out, p.out, p.M * p.N, stream);
  }
  return true;
}

template bool matmul_cublaslt(const Product<float>&, Stream);
template bool matmul_cublaslt(const Product<double>&, Stream);

}  // namespace minivae
