package storetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// BinaryEnv names the environment variable that says where versitygw lies, if not in .deps/bin of the
// module or on the path.
const BinaryEnv = "FACET_VERSITYGW"

// Server is a running versitygw on a port of its own of the loopback interface.
type Server struct {
	Endpoint             string // http://127.0.0.1:port
	AccessKey, SecretKey string
	Bucket               string // a bucket that exists; CreateBucket makes others
	Data                 string // the folder in which every bucket is a folder
	process              *os.Process
	exited               chan struct{} // closed when the process has ended
}

// VersityGW starts a server for one test, with its data in the test's temporary folder, and points the
// SDK's own chain of configuration at it. The server is killed when the test ends.
func VersityGW(t testing.TB) *Server {
	t.Helper()
	s, err := StartVersityGW(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	for _, v := range s.Env() {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	return s
}

// Env is the environment in which the SDK reaches this server and looks for credentials nowhere else.
func (s *Server) Env() []string {
	return []string{
		"AWS_ENDPOINT_URL=" + s.Endpoint, "AWS_ENDPOINT_URL_S3=", "AWS_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=" + s.AccessKey, "AWS_SECRET_ACCESS_KEY=" + s.SecretKey, "AWS_SESSION_TOKEN=",
		"AWS_PROFILE=", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_EC2_METADATA_DISABLED=true",
	}
}

// Close kills the server and waits for its end.
func (s *Server) Close() {
	_ = s.process.Kill() // fails only if it has ended already
	<-s.exited
}

// CreateBucket makes a further bucket.
func (s *Server) CreateBucket(ctx context.Context, name string) error {
	if _, err := s.client().CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name}); err != nil {
		return fmt.Errorf("create bucket %s: %w", name, err)
	}
	return nil
}

func (s *Server) client() *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: &s.Endpoint, UsePathStyle: true, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider(s.AccessKey, s.SecretKey, ""),
	})
}

// ports is how often another port is tried: one that was free may be taken before the server has it.
const ports = 8

// StartVersityGW starts a server whose data lie in dir. The caller closes it.
func StartVersityGW(dir string) (*Server, error) {
	binary, err := findBinary()
	if err != nil {
		return nil, err
	}
	for range ports {
		var s *Server
		if s, err = start(binary, dir); err == nil {
			return s, nil
		}
	}
	return nil, fmt.Errorf("start versitygw: %w", err)
}

func findBinary() (string, error) {
	if path := os.Getenv(BinaryEnv); path != "" {
		return path, nil
	}
	dir, err := os.Getwd()
	for ; err == nil && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if path := filepath.Join(dir, ".deps/bin/versitygw"); isFile(filepath.Join(dir, "go.mod")) && isFile(path) {
			return path, nil
		}
	}
	if path, err := exec.LookPath("versitygw"); err == nil {
		return path, nil
	}
	return "", errors.New("versitygw, the S3 server of the tests, is not installed; run `make setup-tests` or set " + BinaryEnv)
}

func isFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular()
}

// start starts a server on a port that is free at the moment.
func start(binary, dir string) (*Server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &Server{
		Endpoint: "http://" + port, AccessKey: rand.Text(), SecretKey: rand.Text(), Bucket: "facet",
		Data: filepath.Join(dir, "data"), exited: make(chan struct{}),
	}
	versions := filepath.Join(dir, "versions")
	if err := errors.Join(os.MkdirAll(s.Data, 0o750), os.MkdirAll(versions, 0o750)); err != nil {
		return nil, err
	}
	var log strings.Builder
	cmd := exec.Command(binary, "--port", port, "--quiet", "--keep-alive", "--health", "/healthz",
		"posix", "--versioning-dir", versions, s.Data)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+s.AccessKey, "ROOT_SECRET_KEY="+s.SecretKey)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // a test that times out cleans up nothing
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s.process = cmd.Process
	go func() {
		defer close(s.exited)
		_ = cmd.Wait() // it is killed in the end, which is no error
	}()
	if err := s.ready(); err != nil {
		s.Close()
		return nil, fmt.Errorf("%w\n%s", err, log.String())
	}
	return s, nil
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// ready waits until the server answers and makes the first bucket. Since that takes the server's own
// random key, another server that got hold of the port is not taken for this one.
func (s *Server) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for !s.healthy(ctx) {
		select {
		case <-s.exited:
			return errors.New("it ended before it was ready")
		case <-ctx.Done():
			return fmt.Errorf("it is not ready: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
	_, err := s.client().ListBuckets(ctx, &s3.ListBucketsInput{MaxBuckets: aws.Int32(1)})
	if err != nil {
		return err
	}
	if isDir(filepath.Join(s.Data, s.Bucket)) {
		return nil
	}
	return s.CreateBucket(ctx, s.Bucket)
}

func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

func (s *Server) healthy(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Endpoint+"/healthz", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}
