// cuBLASLt on the CPU: a loop nest behind the functions that matmul_cublaslt.cu calls. It refuses what
// the library would (a leading dimension shorter than a column, pointers that are aligned less than
// was said, an epilogue in double), so that the calls are tested and not only the arithmetic.
#include "cuda/cublaslt_library.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "emulated/runtime.h"

namespace minivae::cublaslt {

struct OpaqueHandle {};

struct OpaqueMatmulDesc {
  int compute, scale, transpose_a = kPlain, transpose_b = kPlain, epilogue = kDefault;
  const void* bias = nullptr;
};

struct OpaqueMatrixLayout {
  int type;
  std::int64_t rows, cols, ld;
};

struct OpaquePreference {
  std::uint64_t workspace = 0;
  std::uint32_t alignment[4] = {256, 256, 256, 256};
};

namespace {

constexpr Status kSuccess = 0, kInvalid = 7, kUnsupported = 15;

// An algorithm remembers what it was chosen for.
struct Chosen {
  std::uint64_t workspace;
  std::uint32_t alignment[4];
};
static_assert(sizeof(Chosen) <= sizeof(Algorithm));

template <class Object>
Status keep(Object** result, Object value) {
  static std::vector<std::unique_ptr<Object>> all;
  all.push_back(std::make_unique<Object>(value));
  *result = all.back().get();
  return kSuccess;
}

Status create(Handle* handle) {
  return keep(handle, OpaqueHandle{});
}

Status create_desc(MatmulDesc* desc, int compute, int scale) {
  const bool fits =
      scale == kReal64 ? compute == kCompute64 : compute == kCompute32 || compute == kComputeTf32;
  return fits ? keep(desc, OpaqueMatmulDesc{compute, scale}) : kInvalid;
}

Status set_desc(MatmulDesc desc, int attribute, const void* value, std::size_t bytes) {
  int* const field = attribute == kTransposeA   ? &desc->transpose_a
                     : attribute == kTransposeB ? &desc->transpose_b
                     : attribute == kEpilogue   ? &desc->epilogue
                                                : nullptr;
  if (field && bytes == sizeof(int)) {
    std::memcpy(field, value, bytes);
    return kSuccess;
  }
  if (attribute != kBiasPointer || bytes != sizeof(void*)) return kInvalid;
  std::memcpy(&desc->bias, value, bytes);
  return kSuccess;
}

Status create_layout(MatrixLayout* layout, int type, std::uint64_t rows, std::uint64_t cols,
                     std::int64_t ld) {
  return keep(layout, OpaqueMatrixLayout{type, std::int64_t(rows), std::int64_t(cols), ld});
}

Status create_preference(Preference* preference) {
  return keep(preference, OpaquePreference{});
}

Status destroy_preference(Preference) {
  return kSuccess;
}

Status set_preference(Preference preference, int attribute, const void* value, std::size_t bytes) {
  if (attribute == kMaxWorkspace && bytes == sizeof(std::uint64_t)) {
    std::memcpy(&preference->workspace, value, bytes);
    return kSuccess;
  }
  if (attribute < kAlignmentA || attribute > kAlignmentD || bytes != sizeof(std::uint32_t)) return kInvalid;
  std::memcpy(&preference->alignment[attribute - kAlignmentA], value, bytes);
  return kSuccess;
}

bool consistent(MatmulDesc desc, MatrixLayout a, MatrixLayout b, MatrixLayout c, MatrixLayout d) {
  const bool turn_a = desc->transpose_a == kTransposed, turn_b = desc->transpose_b == kTransposed;
  const auto valid = [&](MatrixLayout m) {
    return m->type == desc->scale && m->rows > 0 && m->cols > 0 && m->ld >= m->rows;
  };
  return valid(a) && valid(b) && valid(c) && valid(d) && (turn_a ? a->cols : a->rows) == d->rows &&
         (turn_b ? b->rows : b->cols) == d->cols &&
         (turn_a ? a->rows : a->cols) == (turn_b ? b->cols : b->rows) && c->rows == d->rows &&
         c->cols == d->cols;
}

Status heuristic(Handle, MatmulDesc desc, MatrixLayout a, MatrixLayout b, MatrixLayout c, MatrixLayout d,
                 Preference preference, int wanted, Heuristic* results, int* found) {
  *found = 0;
  if (wanted < 1 || !consistent(desc, a, b, c, d)) return kInvalid;
  if (desc->scale == kReal64 && desc->epilogue != kDefault) return kUnsupported;
  if ((desc->epilogue & kBias) && !desc->bias) return kUnsupported;  // the choice depends on the pointer
  Chosen chosen{};
  chosen.workspace = std::min<std::uint64_t>(preference->workspace, 1 << 20);
  std::copy_n(preference->alignment, 4, chosen.alignment);
  results[0] = {};
  std::memcpy(&results[0].algorithm, &chosen, sizeof chosen);
  results[0].workspace_bytes = chosen.workspace;
  *found = 1;
  return kSuccess;
}

template <class T>
void loops(const OpaqueMatmulDesc& desc, const T* a, const OpaqueMatrixLayout& la, const T* b,
           const OpaqueMatrixLayout& lb, T* d, const OpaqueMatrixLayout& ld) {
  const std::int64_t depth = desc.transpose_a == kTransposed ? la.rows : la.cols;
  for (std::int64_t j = 0; j < ld.cols; ++j) {
    for (std::int64_t i = 0; i < ld.rows; ++i) {
      T sum = 0;
      for (std::int64_t k = 0; k < depth; ++k) {
        const T left = desc.transpose_a == kTransposed ? a[k + i * la.ld] : a[i + k * la.ld];
        sum += left * (desc.transpose_b == kTransposed ? b[j + k * lb.ld] : b[k + j * lb.ld]);
      }
      if (desc.epilogue & kBias) sum += static_cast<const T*>(desc.bias)[i];
      d[i + j * ld.ld] = desc.epilogue & kRelu && sum < 0 ? T(0) : sum;
    }
  }
}

Status matmul(Handle, MatmulDesc desc, const void* alpha, const void* a, MatrixLayout la, const void* b,
              MatrixLayout lb, const void* beta, const void* c, MatrixLayout lc, void* d, MatrixLayout ld,
              const Algorithm* algorithm, void* workspace, std::size_t bytes, Stream stream) {
  if (!consistent(desc, la, lb, lc, ld)) return kInvalid;
  Chosen chosen;
  std::memcpy(&chosen, algorithm, sizeof chosen);
  const void* const pointers[] = {a, b, c, d};
  for (int i = 0; i < 4; ++i) {
    if (reinterpret_cast<std::uintptr_t>(pointers[i]) % chosen.alignment[i] != 0) return kInvalid;
  }
  if (bytes < chosen.workspace || !workspace) return kInvalid;
  const bool one = desc->scale == kReal64 ? *static_cast<const double*>(alpha) == 1
                                          : *static_cast<const float*>(alpha) == 1;
  const bool none =
      desc->scale == kReal64 ? *static_cast<const double*>(beta) == 0 : *static_cast<const float*>(beta) == 0;
  if (!one || !none) return kUnsupported;
  emulated::enqueue(stream, [desc = *desc, la = *la, lb = *lb, ld = *ld, a, b, d] {
    if (desc.scale == kReal64) {
      loops(desc, static_cast<const double*>(a), la, static_cast<const double*>(b), lb,
            static_cast<double*>(d), ld);
    } else {
      loops(desc, static_cast<const float*>(a), la, static_cast<const float*>(b), lb, static_cast<float*>(d),
            ld);
    }
  });
  return kSuccess;
}

}  // namespace

const Library& library(const std::string&) {
  static const Library stand_in{
      {create, [] { return std::size_t(0); }, [](Status) { return "refused by the stand-in"; }, create_desc,
       set_desc, create_layout, create_preference, destroy_preference, set_preference, heuristic, matmul},
      "loop nests on the CPU",
      ""};
  return stand_in;
}

void* lasting_memory(std::size_t bytes) {
  static std::vector<std::unique_ptr<unsigned char[]>> all;
  all.emplace_back(new unsigned char[bytes]);
  return all.back().get();
}

}  // namespace minivae::cublaslt
