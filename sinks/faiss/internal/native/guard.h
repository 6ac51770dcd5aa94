// Turns C++ exceptions into the C API's codes and its thread-local message.
#pragma once

#include <exception>
#include <new>

#include <faiss/c_api/error_c.h>
#include <faiss/impl/FaissException.h>

namespace facet {

// fail stores the message for faiss_get_last_error and returns the code.
int fail(int code, const char* message);

template <class F>
int guard(F f) {
    try {
        f();
        return 0;
    } catch (const faiss::FaissException& e) {
        return fail(FAISS_EXCEPT, e.what());
    } catch (const std::bad_alloc&) {
        return fail(STD_EXCEPT, "not enough memory (std::bad_alloc)");
    } catch (const std::exception& e) {
        return fail(STD_EXCEPT, e.what());
    } catch (...) {
        return fail(UNKNOWN_EXCEPT, "unknown C++ exception");
    }
}

} // namespace facet
