package dnnl

// #include "shim.h"
// #include <stdlib.h>
// static dnnl_status_t facet_products(const float *a, const float *b, float *c, int m, int n, int k) {
//     facet_threads(1);
//     return dnnl_sgemm('N', 'T', m, n, k, 1.0f, a, k, b, k, 0.0f, c, n);
// }
import "C"

import "fmt"

// Products writes all inner products of the rows of a [m,k] with those of b [n,k] to c [m,n], on the
// calling thread. Unlike the rest of this package, it may be called by several goroutines at once.
func Products(a, b, c []float32, k int) error {
	if k < 1 || len(a)%k != 0 || len(b)%k != 0 || len(c) != len(a)/k*(len(b)/k) {
		return fmt.Errorf("dnnl: products of %d and %d values in rows of %d into %d", len(a), len(b), k, len(c))
	}
	if len(c) == 0 {
		return nil
	}
	s := C.facet_products((*C.float)(&a[0]), (*C.float)(&b[0]), (*C.float)(&c[0]), C.int(len(a)/k), C.int(len(b)/k), C.int(k))
	return status("multiply matrices", s)
}
