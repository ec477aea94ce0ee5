package web

import (
	"compress/gzip"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// compressFrom is the size of an answer, in bytes, that is worth it.
const compressFrom = 1024

// compressors are kept: each has tables of hundreds of kilobytes.
var compressors = sync.Pool{New: func() any {
	z, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is one that there is
	}
	return z
}}

// send answers with a body, compressed where that is worth it and the client takes
// it. The error is that of the connection.
func send(w http.ResponseWriter, r *http.Request, code int, contentType string, body []byte) error {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Add("Vary", "Accept-Encoding")
	if len(body) < compressFrom || !takesGzip(r.Header.Values("Accept-Encoding")) {
		w.WriteHeader(code)
		_, err := w.Write(body)
		return err
	}
	w.Header().Set("Content-Encoding", "gzip")
	w.WriteHeader(code)
	z := compressors.Get().(*gzip.Writer)
	z.Reset(w)
	_, err := z.Write(body)
	if e := z.Close(); err == nil {
		err = e
	}
	z.Reset(io.Discard) // it would keep the connection
	compressors.Put(z)
	return err
}

// takesGzip reports whether an Accept-Encoding header names gzip, or everything,
// and not with a quality of zero.
func takesGzip(headers []string) bool {
	any, named := false, ""
	for _, coding := range strings.Split(strings.Join(headers, ","), ",") {
		name, parameters, _ := strings.Cut(coding, ";")
		quality := "1"
		if q, ok := strings.CutPrefix(strings.ToLower(strings.ReplaceAll(parameters, " ", "")), "q="); ok {
			quality = q
		}
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "gzip", "x-gzip":
			named = quality
		case "*":
			any = positive(quality)
		}
	}
	return named == "" && any || positive(named)
}

func positive(quality string) bool {
	q, err := strconv.ParseFloat(quality, 64)
	return err == nil && q > 0
}
