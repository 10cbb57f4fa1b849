// Every kernel and the table of them, compiled for the instruction set MV_ISA by the including file.
namespace minivae {
namespace MV_ISA {

#include "cpu/noise.inl"
#include "cpu/row_sum.inl"
#include "cpu/simd.inl"
#include "cpu/gemm_tile.inl"
#include "cpu/dot.inl"
#include "cpu/gemm.inl"

#include "cpu/adam.inl"
#include "cpu/arithmetic.inl"
#include "cpu/batch_norm.inl"
#include "cpu/bce_with_logits.inl"
#include "cpu/conv2d.inl"
#include "cpu/conv2d_grad.inl"
#include "cpu/elementary.inl"
#include "cpu/gather_pixels.inl"
#include "cpu/negative_elbo.inl"
#include "cpu/relu.inl"
#include "cpu/reparam_kl.inl"
#include "cpu/squared_error_with_logits.inl"

template <class T>
constexpr Kernels<T> table_of() {
  Kernels<T> k{};
  k.uniform = uniform<T>;
  k.normal = normal<T>;
  k.reparam_kl_forward = reparam_kl_forward<T>;
  k.reparam_kl_backward = reparam_kl_backward<T>;
  k.bce_with_logits = bce_with_logits<T>;
  k.squared_error_with_logits = squared_error_with_logits<T>;
  k.adam = adam<T>;
  k.add = add<T>;
  k.scale_rows = scale_rows<T>;
  k.negative_elbo = negative_elbo<T>;
  k.update_running = update_running<T>;
  k.gather_pixels = gather_pixels<T>;
  k.relu = relu<T>;
  k.relu_backward = relu_backward<T>;
  k.bias_relu_backward = bias_relu_backward<T>;
  k.channel_sum = channel_sum<T>;
  k.batch_statistics = batch_statistics<T>;
  k.batch_norm_forward = batch_norm_forward<T>;
  k.batch_norm_backward = batch_norm_backward<T>;
  k.gemm = gemm<T>;
  k.conv2d = conv2d<T>;
  k.conv2d_grad_input = conv2d_grad_input<T>;
  k.conv2d_grad_weight = conv2d_grad_weight<T>;
  k.elementary = elementary<T>;
  k.box_muller_pairs = box_muller_pairs<T>;
  k.fast_box_muller_pairs = fast_box_muller_pairs<T>;
  return k;
}

}  // namespace MV_ISA

#define MV_QUOTE(name) #name
#define MV_NAME_OF(name) MV_QUOTE(name)
#define MV_JOIN(a, b) a##b
#define MV_TABLE_OF(isa) MV_JOIN(isa, _table)
extern const Table MV_TABLE_OF(MV_ISA) = {MV_NAME_OF(MV_ISA), MV_ISA::table_of<float>(),
                                          MV_ISA::table_of<double>()};

}  // namespace minivae
