package receive

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/golang/snappy"
)

// readBody reads all of a body, of so many bytes at the most.
func readBody(w http.ResponseWriter, req *http.Request, limit int64) ([]byte, *refusal) {
	b, err := io.ReadAll(http.MaxBytesReader(w, req.Body, limit))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooLarge(limit)
	}
	if err != nil {
		return nil, malformed(fmt.Errorf("the request broke off: %w", err))
	}
	return b, nil
}

// asRefusal turns what is wrong with a body into an answer; nil: nothing is.
func asRefusal(err error) *refusal {
	if err == nil {
		return nil
	}
	if r, ok := errors.AsType[*refusal](err); ok {
		return r
	}
	return malformed(err)
}

// snappyBody has upstream's handler read a body that does not become larger than a limit.
func snappyBody(b []byte, limit int64, req *http.Request) error {
	req.Body = io.NopCloser(bytes.NewReader(b))
	if enc := req.Header.Get("Content-Encoding"); enc != "" && enc != "snappy" {
		return nil // upstream refuses it
	}
	if n, err := snappy.DecodedLen(b); err == nil && int64(n) > limit {
		return tooLarge(limit)
	}
	return nil
}

// gzipBody decompresses a body for upstream's handler, which would cut what is too large.
func gzipBody(b []byte, limit int64, req *http.Request) error {
	if req.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return err
		}
		if b, err = io.ReadAll(io.LimitReader(z, limit+1)); err != nil {
			return err
		}
		if int64(len(b)) > limit {
			return tooLarge(limit)
		}
		req.Header.Del("Content-Encoding")
	}
	req.Body = io.NopCloser(bytes.NewReader(b))
	return nil
}

// local is the address of who sends through a unix socket.
const local = "local"

// addressOf is who sends: an IP address, or local.
func addressOf(req *http.Request) string {
	if host, _, err := net.SplitHostPort(req.RemoteAddr); err == nil {
		return host
	}
	return local
}
