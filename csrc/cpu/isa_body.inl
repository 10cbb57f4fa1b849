// Every kernel and the table of them, compiled for the instruction set MV_ISA by the including file.
namespace minivae {
namespace MV_ISA {

#include "cpu/adam.inl"
#include "cpu/noise.inl"

template <class T>
constexpr Kernels<T> table_of() {
  Kernels<T> k{};
  k.adam = adam<T>;
  k.uniform = uniform<T>;
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
