package storetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Fault is one thing that goes wrong with a request.
type Fault string

// All that a network and a busy store are known for.
const (
	Internal  Fault = "500"                      // InternalError, the request not done
	SlowDown  Fault = "503"                      // SlowDown, the request not done
	Refused   Fault = "reset before the request" // the connection reset, the request not done
	Lost      Fault = "reset before the answer"  // the request done, the connection reset
	Truncated Fault = "answer breaks off"        // the connection reset amid the body
	Shortened Fault = "answer claims to be over" // half the body, and a Content-Length to match
	Emptied   Fault = "answer without a body"    // a Content-Length of 0
	Overlong  Fault = "answer claims to be more" // a Content-Length beyond the body
	Delayed   Fault = "answer is late"           // by some milliseconds
	Stale     Fault = "listing is old"           // the first answer ever given to that very question
	// Silent is not among AllFaults: it lasts until the client gives up.
	Silent Fault = "answer stops amid its body" // with the connection kept open
)

// AllFaults is one of each that strikes at once.
var AllFaults = []Fault{Internal, SlowDown, Refused, Lost, Truncated, Shortened, Emptied, Overlong, Delayed, Stale}

// Faulty is a proxy in front of a Server with which some requests go wrong.
type Faulty struct {
	Server              // with the proxy's endpoint
	origin string       // host:port of the server
	share  float64      // of the requests
	faults []Fault      // to choose from
	count  atomic.Int64 // of the faults so far
	mu     sync.Mutex   // guards random
	random *rand.Rand   // the same faults in the same order of requests

	only     func(*http.Request) bool // nil: all
	listings sync.Map                 // question to its first answer, for Stale
	over     chan struct{}            // closed at the test's end
}

// NewFaulty puts a proxy before a server until the test ends, and points the SDK's own chain of
// configuration at it.
func NewFaulty(t testing.TB, s *Server, share float64, faults ...Fault) *Faulty {
	t.Helper()
	f := &Faulty{
		Server: *s, origin: s.Endpoint[len("http://"):], share: share, faults: faults, random: rand.New(rand.NewPCG(1, 2)),
		over: make(chan struct{}),
	}
	proxy := httptest.NewServer(f)
	t.Cleanup(proxy.Close)
	t.Cleanup(func() { close(f.over) }) // before it: Close waits for all answers
	f.Endpoint = proxy.URL
	t.Setenv("AWS_ENDPOINT_URL", proxy.URL)
	return f
}

// Only lets things go wrong with no requests but these. It is called before the first.
func (f *Faulty) Only(these func(*http.Request) bool) { f.only = these }

// Faults is how many requests went wrong so far.
func (f *Faulty) Faults() int64 { return f.count.Load() }

// draw decides about one request; "" means that nothing goes wrong.
func (f *Faulty) draw(r *http.Request) Fault {
	if f.only != nil && !f.only(r) {
		return ""
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.random.Float64() >= f.share {
		return ""
	}
	f.count.Add(1)
	return f.faults[f.random.IntN(len(f.faults))]
}

// ServeHTTP implements http.Handler.
func (f *Faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fault := f.draw(r)
	switch fault {
	case Internal:
		refuse(w, r, http.StatusInternalServerError, "InternalError")
		return
	case SlowDown:
		refuse(w, r, http.StatusServiceUnavailable, "SlowDown")
		return
	case Refused:
		reset(w)
		return
	}
	answer, body, err := f.forward(r) //nolint:bodyclose // forward has read and closed it
	if err != nil || fault == Lost {
		reset(w)
		return
	}
	body = f.first(r, answer, body, fault == Stale)
	if r.Method == http.MethodHead { // it has no body to lie about
		fault = ""
	}
	switch fault {
	case Delayed:
		time.Sleep(delay)
	case Silent:
		if len(body) > 0 { // an answer without a body cannot stop amid it
			f.stop(w, r, answer, body)
			return
		}
	}
	part, announced := spoil(fault, body)
	send(w, r, answer, part, announced)
}

// spoil is what of a body is sent, and how long it is said to be.
func spoil(fault Fault, body []byte) (part []byte, announced int) {
	half := body[:len(body)/2]
	switch fault {
	case Truncated:
		return half, len(body)
	case Shortened:
		return half, len(half)
	case Emptied:
		return nil, 0
	case Overlong:
		return body, len(body) + 10
	}
	return body, len(body)
}

// stop sends half an answer, and then nothing until the client goes.
func (f *Faulty) stop(w http.ResponseWriter, r *http.Request, answer *http.Response, body []byte) {
	head(w, r, answer, len(body))
	_, _ = w.Write(body[:len(body)/2])
	_ = http.NewResponseController(w).Flush()
	select {
	case <-r.Context().Done():
	case <-f.over:
	}
}

// delay is that of a Delayed answer.
const delay = 20 * time.Millisecond

// first remembers a listing's first answer, and returns it in place of today's if old is asked for.
func (f *Faulty) first(r *http.Request, answer *http.Response, body []byte, old bool) []byte {
	if r.Method != http.MethodGet || !r.URL.Query().Has("list-type") || answer.StatusCode != http.StatusOK {
		return body
	}
	if was, seen := f.listings.LoadOrStore(r.URL.String(), body); seen && old {
		return was.([]byte)
	}
	return body
}

func refuse(w http.ResponseWriter, r *http.Request, status int, code string) {
	_, _ = io.Copy(io.Discard, r.Body) // or the client sees a reset instead of the answer
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>injected</Message></Error>", code)
}

// reset ends the connection without a word.
func reset(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	conn.Close()
}

// forward has the server answer, and reads the whole of it.
func (f *Faulty) forward(r *http.Request) (*http.Response, []byte, error) {
	request := r.Clone(context.WithoutCancel(r.Context()))
	request.RequestURI, request.URL.Scheme, request.URL.Host = "", "http", f.origin
	answer, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return nil, nil, err
	}
	defer answer.Body.Close()
	var body bytes.Buffer
	_, err = io.Copy(&body, answer.Body)
	return answer, body.Bytes(), err
}

// head passes an answer's headers on.
func head(w http.ResponseWriter, r *http.Request, answer *http.Response, announced int) {
	for name, values := range answer.Header {
		w.Header()[name] = values
	}
	if r.Method != http.MethodHead {
		w.Header().Set("Content-Length", fmt.Sprint(announced))
	}
	w.WriteHeader(answer.StatusCode)
}

// send passes an answer on, with a length that need not be its body's.
func send(w http.ResponseWriter, r *http.Request, answer *http.Response, body []byte, announced int) {
	head(w, r, answer, announced)
	_, _ = w.Write(body)
	if r.Method != http.MethodHead && len(body) < announced {
		panic(http.ErrAbortHandler) // ends the connection
	}
}
