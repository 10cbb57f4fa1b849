// Sums of rows that are visited piece by piece. Every row is summed in double by kLanes interleaved
// accumulators, added at the end in one fixed order: the loop can be vectorised and the sum depends
// neither on the instruction set nor on the pieces, as long as every piece but the last is a
// multiple of kLanes.
constexpr Index kLanes = 16;

struct RowSum {
  double lane[kLanes] = {};
};

// Adds term(i) for i < count.
template <class Term>
inline void add_terms(RowSum& sum, Index count, Term term) {
  const Index whole = count - count % kLanes;
  double lane[kLanes];
  for (Index j = 0; j < kLanes; ++j) lane[j] = sum.lane[j];
  for (Index i = 0; i < whole; i += kLanes) {
    for (Index j = 0; j < kLanes; ++j) lane[j] += term(i + j);
  }
  for (Index i = whole; i < count; ++i) lane[i - whole] += term(i);
  for (Index j = 0; j < kLanes; ++j) sum.lane[j] = lane[j];
}

template <class T>
void add_piece(RowSum& sum, const T* MV_RESTRICT x, Index count) {
  add_terms(sum, count, [=](Index i) { return double(x[i]); });
}

static double total(const RowSum& sum) {
  double x[kLanes];
  for (Index j = 0; j < kLanes; ++j) x[j] = sum.lane[j];
  for (Index half = kLanes / 2; half > 0; half /= 2) {
    for (Index j = 0; j < half; ++j) x[j] += x[j + half];
  }
  return x[0];
}

// Calls terms(begin, count, out) on tiles that cover rows [first, last) of a row-major (rows,
// columns) array, where `out` takes one term per element, and stores the sum of each row's terms. A
// tile is some whole rows, or a piece of one when a row is longer than a tile.
template <class T, class Terms>
inline void sum_rows(Index first, Index last, Index columns, T* MV_RESTRICT sums, Terms terms) {
  T term[kTile];
  if (columns > kTile) {
    for (Index row = first; row < last; ++row) {
      RowSum sum;
      for (Index column = 0; column < columns; column += kTile) {
        const Index count = min_index(kTile, columns - column);
        terms(row * columns + column, count, term);
        add_piece(sum, term, count);
      }
      sums[row] = static_cast<T>(total(sum));
    }
    return;
  }
  const Index rows_per_tile = columns > 0 ? kTile / columns : last - first;
  for (Index row = first; row < last; row += rows_per_tile) {
    const Index rows = min_index(rows_per_tile, last - row);
    terms(row * columns, rows * columns, term);
    for (Index r = 0; r < rows; ++r) {
      RowSum sum;
      add_piece(sum, term + r * columns, columns);
      sums[row + r] = static_cast<T>(total(sum));
    }
  }
}
