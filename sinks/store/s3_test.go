package store_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/facet-search/facet/sinks/store"
	"github.com/facet-search/facet/sinks/store/storetest"
)

// What is wrong with the account or the bucket must not pass for a fault of one image, or a whole
// gallery would go to quarantine. And no error gives a secret away.
func TestS3Configuration(t *testing.T) {
	server := storetest.VersityGW(t)
	for what, c := range map[string]struct{ address, key, secret string }{
		"no such bucket":  {"s3://no-such-bucket/", server.AccessKey, server.SecretKey},
		"a wrong secret":  {"s3://" + server.Bucket, server.AccessKey, "wrong" + server.SecretKey},
		"an unknown user": {"s3://" + server.Bucket, "unknown", server.SecretKey},
		"no credentials":  {"s3://" + server.Bucket, "", ""},
	} {
		t.Run(what, func(t *testing.T) {
			t.Setenv("AWS_ACCESS_KEY_ID", c.key)
			t.Setenv("AWS_SECRET_ACCESS_KEY", c.secret)
			s := open(t, c.address)
			_, _, opening := s.Open(t.Context(), "k")
			var listing error
			for _, err := range s.List(t.Context(), "") {
				listing = err
			}
			for _, err := range []error{opening, listing, put(t.Context(), s, "k", "x", store.Condition{})} {
				if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
					t.Errorf("%v", err)
				}
				if strings.Contains(fmt.Sprintf("%+v", err), server.SecretKey) {
					t.Error("the secret is in the message")
				}
			}
		})
	}
}

// fake answers listings with fixed pages, which no real server would send.
func fake(t *testing.T, pages ...string) store.Store {
	t.Helper()
	n := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if page := pages[min(n, len(pages)-1)]; page != nothing {
			fmt.Fprint(w, `<?xml version="1.0"?><ListBucketResult>`, page, `</ListBucketResult>`)
		}
		n++
	}))
	t.Cleanup(server.Close)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": server.URL, "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_CONFIG_FILE": "/dev/null",
	} {
		t.Setenv(name, value)
	}
	return open(t, "s3://b/p/")
}

func entry(key string) string {
	return "<Contents><Key>" + key + "</Key><Size>1</Size><ETag>&quot;e&quot;</ETag></Contents>"
}

const (
	nothing = "" // not even the document
	more    = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
	last    = "<IsTruncated>false</IsTruncated>"
	code    = "<EncodingType>url</EncodingType>"
)

func TestS3Listing(t *testing.T) {
	for what, c := range map[string]struct {
		pages []string
		want  []string
		says  string // of the error; empty: none
	}{
		"two pages":           {[]string{entry("p/a") + more, entry("p/b") + last}, []string{"a", "b"}, ""},
		"an empty page":       {[]string{more, entry("p/b") + last}, []string{"b"}, ""},
		"the prefix's marker": {[]string{entry("p/") + entry("p/a") + last}, []string{"a"}, ""},
		"encoded keys":        {[]string{code + entry("p/a+b%2Bc%0A%FF") + last}, []string{"a b+c\n\xff"}, ""},
		"keys as they are":    {[]string{entry("p/a+b%2Bc") + last}, []string{"a+b%2Bc"}, ""},
		"a broken code":       {[]string{code + entry("p/%zz") + last}, nil, "%zz"},
		"out of order":        {[]string{entry("p/b") + entry("p/a") + last}, []string{"b"}, "in order"},
		"the same page again": {[]string{entry("p/a") + more}, []string{"a"}, "in order"},
		"no token":            {[]string{entry("p/a") + "<IsTruncated>true</IsTruncated>"}, []string{"a"}, "not where"},
		"another prefix":      {[]string{entry("q/a") + last}, nil, "q/a"},
		"an entry of no size": {[]string{"<Contents><Key>p/a</Key></Contents>" + last}, nil, "size"},
	} {
		t.Run(what, func(t *testing.T) {
			var got []string
			var failure error
			for r, err := range fake(t, c.pages...).List(t.Context(), "") {
				if err != nil {
					failure = err
					break
				}
				got = append(got, r.Key)
			}
			if !slices.Equal(got, c.want) || (failure == nil) != (c.says == "") || failure != nil && !strings.Contains(failure.Error(), c.says) {
				t.Errorf("listed %q, %v; want %q and an error that says %q", got, failure, c.want, c.says)
			}
		})
	}
}

// An answer that says nothing is not a listing of nothing, though the SDK takes it for one.
func TestS3EmptyAnswerIsAskedForAgain(t *testing.T) {
	for r, err := range fake(t, nothing, nothing, entry("p/a")+last).List(t.Context(), "") {
		if err != nil || r.Key != "a" {
			t.Errorf("%+v, %v", r, err)
		}
		return
	}
	t.Error("the listing is empty")
}
