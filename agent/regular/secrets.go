package regular

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
)

// maxSecret bounds what is read of a file with a token, a password or certificates, in
// bytes: hundreds of authorities have less.
const maxSecret = 8 << 20

// Secrets reads files with tokens, passwords and certificates as upstream does
// (prometheus/common: config.FileSecret), and waits for none of them. It is upstream's
// config.SecretManager, for which the path of a file is the reference: see Refs. The
// zero value is ready to be used, by several goroutines.
type Secrets struct {
	mtx     sync.Mutex
	reading map[string]*reading
	// read is readSecret, but in tests.
	read func(path string) (string, error)
}

// reading is one that goes on.
type reading struct {
	done    chan struct{}
	content string
	err     error
}

// Fetch returns what is in a file, without the white space around it. An error names the
// file; a *NotRegular is in it where reading it might wait. A file system that does not
// answer cannot be left while it is asked: then Fetch returns when ctx ends, and only
// one goroutine stays behind for each file.
func (s *Secrets) Fetch(ctx context.Context, path string) (string, error) {
	r := s.begin(path)
	select {
	case <-r.done:
		return r.content, r.err
	case <-ctx.Done():
		return "", fmt.Errorf("unable to read file %s: no answer from where it is stored: %w", path, context.Cause(ctx))
	}
}

// begin joins those who wait for the file, if there are any.
func (s *Secrets) begin(path string) *reading {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	if r := s.reading[path]; r != nil {
		return r
	}
	if s.reading == nil {
		s.reading = map[string]*reading{}
	}
	read := s.read
	if read == nil {
		read = readSecret
	}
	r := &reading{done: make(chan struct{})}
	s.reading[path] = r
	go func() {
		r.content, r.err = read(path)
		s.mtx.Lock()
		delete(s.reading, path)
		s.mtx.Unlock()
		close(r.done)
	}()
	return r
}

func readSecret(path string) (string, error) {
	f, err := open(path)
	if err != nil {
		return "", fmt.Errorf("unable to read file %s: %w", path, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("unable to read file %s: %w", path, err)
	case len(b) > maxSecret:
		return "", fmt.Errorf("unable to read file %s: it has more than %d bytes", path, maxSecret)
	}
	return strings.TrimSpace(string(b)), nil
}

// Secret is one file, as upstream's config.SecretReader.
type Secret struct {
	Secrets *Secrets
	Path    string
}

// Fetch returns what is in the file: see Secrets.Fetch.
func (s Secret) Fetch(ctx context.Context) (string, error) { return s.Secrets.Fetch(ctx, s.Path) }

// Description names the file in upstream's errors.
func (s Secret) Description() string { return "file " + s.Path }

// Immutable reports that the file is to be read at each request.
func (s Secret) Immutable() bool { return false }
