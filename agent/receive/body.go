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

// body of a request, in memory that is reserved as it comes: who says that much is to come
// keeps no others out.
type body struct {
	limit   int64
	memory  *pool
	account string // whose part of memory it is; see accountOf
	bytes   []byte
	held    int64 // of memory
}

// As much is reserved, and read, at first, and twice as much each time, up to mostChunk.
const (
	firstChunk = 4 << 10
	mostChunk  = 256 << 10
)

func (b *body) reserve(n int64) *refusal {
	if !b.memory.take(b.account, b.held, n) {
		return busy
	}
	b.held += n
	return nil
}

func (b *body) release() {
	b.memory.giveBack(b.account, b.held)
	b.held = 0
}

// read takes all of what a reader has, in the place of what there was.
func (b *body) read(from io.Reader) *refusal {
	var buf bytes.Buffer
	for chunk := int64(firstChunk); ; chunk = min(2*chunk, mostChunk) {
		if refusal := b.reserve(chunk); refusal != nil {
			return refusal
		}
		_, err := io.CopyN(&buf, from, chunk)
		if int64(buf.Len()) > b.limit {
			return tooLarge(b.limit)
		}
		if errors.Is(err, io.EOF) {
			b.bytes = buf.Bytes()
			return nil
		}
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return tooLarge(b.limit)
		}
		if err != nil {
			return malformed(fmt.Errorf("the request broke off: %w", err))
		}
	}
}

// snappyBody has upstream's handler read a body that does not become larger than a limit.
func snappyBody(b *body, req *http.Request) *refusal {
	req.Body = io.NopCloser(bytes.NewReader(b.bytes))
	if enc := req.Header.Get("Content-Encoding"); enc != "" && enc != "snappy" {
		return nil // upstream refuses it
	}
	n, err := snappy.DecodedLen(b.bytes)
	switch {
	case err != nil:
		return nil // so does it this
	case int64(n) > b.limit:
		return tooLarge(b.limit)
	}
	return b.reserve(int64(n))
}

// gzipBody decompresses a body for upstream's handler, which would cut what is too large.
func gzipBody(b *body, req *http.Request) *refusal {
	if req.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(bytes.NewReader(b.bytes))
		if err != nil {
			return malformed(err)
		}
		if refusal := b.read(z); refusal != nil {
			return refusal
		}
		req.Header.Del("Content-Encoding")
	}
	req.Body = io.NopCloser(bytes.NewReader(b.bytes))
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

// accountOf is under which address what comes from one is accounted: all of this host is
// one.
func accountOf(address string) string {
	if ip := net.ParseIP(address); ip != nil && ip.IsLoopback() {
		return local
	}
	return address
}
