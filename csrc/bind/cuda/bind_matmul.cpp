// Python bindings of the matrix product on a GPU and of cuBLASLt's settings.
#include "bind/cuda/modules.h"
#include "bind/cuda/scalar_arg.h"
#include "bind/matrix_args.h"
#include "cuda/matmul.h"

namespace minivae {
namespace {

// Two more values of `version`: 0 is cuBLASLt where it can do the product, else version 4; -1 is cuBLASLt or
// an error.
constexpr int kLibrary = -1;

template <class T>
MatrixArg<T> matrix(const char* name, const py::object& value) {
  const DeviceArray a = device_array(name, value);
  if (a.type != type_text<T>()) refuse_dtype(name, dtype_name<T>(), a.type);
  const Shape shape = with_dimensions(name, a.shape, 2);
  const Shape in_order{shape[1] * static_cast<Index>(sizeof(T)), sizeof(T)};
  if (count(shape) > 0) require_current_device(name, a.data);
  return {name, a.data, shape, a.strides.empty() ? in_order : a.strides};
}

void product(const py::object& a, const py::object& b, const py::object& bias, bool rectify,
             const py::object& out, const py::object& scratch, int version, std::uintptr_t stream) {
  by_device_dtype("a", a, [&](auto zero) {
    using T = decltype(zero);
    constexpr int last = std::is_same_v<T, float> ? kMatmulVersions : kMatmulBest;
    require_version(version, kLibrary, last);
    DeviceArgs args;
    const MatrixArg<T> left = matrix<T>("a", a), right = matrix<T>("b", b);
    require_product(left, right);
    const Index M = left.rows, K = left.cols, N = right.cols;
    const T* columns = args.optional_input<T>("bias", bias, {N});
    T* result = args.output<T>("out", out, {M, N});
    require_disjoint({"out", result, static_cast<std::size_t>(M * N) * sizeof(T)},
                     {left.extent(), right.extent()});
    const Product<T> p{M, N, K, left.view, right.view, columns, rectify, result};
    const int own = version > 0 ? version : kMatmulBest;
    const Index need = own >= kMatmulBest ? matmul_scratch(M, N, K) : 0;
    T* room = reinterpret_cast<T*>(scratch_arg(args, scratch, need));
    if (version <= 0 && matmul_cublaslt(p, stream_of(stream))) return;
    if (version == kLibrary) {
      const CublasLtInfo info = cublaslt_info("");
      throw py::value_error("cuBLASLt does not do this product: " +
                            (info.found ? "strides or sizes it does not take" : info.reason));
    }
    matmul<T>(own, p, room, stream_of(stream));
  });
}

py::dict library_info(const std::string& path) {
  const CublasLtInfo info = cublaslt_info(path);
  py::dict result;
  result["found"] = info.found;
  result["path"] = info.path;
  result["reason"] = info.reason;
  result["version"] = info.version;
  result["tf32"] = info.tf32;
  result["refused"] = info.refused;
  result["workspace"] = kCublasLtWorkspace;
  return result;
}

}  // namespace

void bind_matmul(py::module_& module) {
  module.def("matmul", &product);
  module.attr("VERSIONS")["matmul"] = kMatmulVersions;
  module.attr("FLOAT64_VERSIONS")["matmul"] = kMatmulBest;
  module.def("matmul_scratch", &matmul_scratch, py::arg("M"), py::arg("N"), py::arg("K"),
             "float64 elements of scratch that versions 0, 4 and 5 need.");
  module.def("cublaslt", &library_info, py::arg("path") = "",
             "Where cuBLASLt was found, or why not; `path` is tried first if nobody has asked before.");
  module.def("set_tf32", &set_tf32, py::arg("allow"),
             "Let cuBLASLt round factors of float32 to TF32; it does not until told to.");
}

}  // namespace minivae
