// Kernels run without Python's lock, so that other Python threads go on meanwhile.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <exception>
#include <thread>
#include <utility>

namespace minivae {

// Calls work() without the lock and takes it again; what work() throws is thrown on with the lock held.
//
// A daemon thread may come back when the interpreter is already shutting down. Python (before 3.14) then ends
// the thread from within, by pthread_exit, which unwinds the stack: destructors of Python objects would run
// without the lock, and one that may not throw, as that of pybind11's gil_scoped_release, ends the process by
// SIGABRT. So the unwinding is stopped here and the thread sleeps until the process is gone, which is what
// Python 3.14 does.
template <class Work>
void without_gil(Work&& work) {
  std::exception_ptr error;
  PyThreadState* const state = PyEval_SaveThread();
  try {
    std::forward<Work>(work)();
  } catch (...) {
    error = std::current_exception();
  }
  try {
    PyEval_RestoreThread(state);
  } catch (...) {
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace minivae
