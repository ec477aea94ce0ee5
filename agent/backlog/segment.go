package backlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// readAttempts is how often in a row a failing disk is asked for a segment, with
// the caller's pauses in between, before the rest of it is taken for damaged.
const readAttempts = 3

// Unregistered: what a reader makes of damage goes into the metrics of the store.
var liveReaderMetrics = wlog.NewLiveReaderMetrics(nil)

// segmentReader reads the records of one segment, which may still be growing.
type segmentReader struct {
	f  *os.File
	lr *wlog.LiveReader
	// end is the offset behind the last record. The reader's own offset also
	// counts the beginning of a record whose rest is not there yet.
	end int64
}

func openSegment(path string) (*segmentReader, error) {
	fi, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && exists(path): // a link to nowhere
		return nil, &fs.PathError{Op: "open", Path: path, Err: errNotRegular}
	case err != nil:
		return nil, err
	case !fi.Mode().IsRegular(): // to open a pipe would wait for ever
		return nil, &fs.PathError{Op: "open", Path: path, Err: errNotRegular}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	// Upstream's reader complains about a damaged record at each attempt to
	// read on; callers of next learn about it once, and say so themselves.
	lr := wlog.NewLiveReader(slog.New(slog.DiscardHandler), liveReaderMetrics, f)
	return &segmentReader{f: f, lr: lr}, nil
}

// close gives back the file, which was only read: there is nothing to fail.
func (r *segmentReader) close() { r.f.Close() }

// next returns the next record, valid until the call after. io.EOF means that
// the file holds no further record for now, and next may be called again; an
// fs.PathError is a failure to read; any other error is damage. After these two
// the reader is of no further use.
func (r *segmentReader) next() ([]byte, error) {
	if r.lr.Next() {
		r.end = r.lr.Offset()
		return r.lr.Record(), nil
	}
	if err := r.lr.Err(); err != nil {
		return nil, err
	}
	return nil, io.EOF
}

// settle moves end over the padding behind the last record, so that the end of
// what was read equals the size of the file when nothing is left to read.
func (r *segmentReader) settle() error {
	read := r.lr.Offset()
	if read <= r.end {
		return nil
	}
	zero, err := zeroBetween(r.f, r.end, read)
	if err == nil && zero {
		r.end = read
	}
	return err
}

// rest returns the size of the file, also when reading it fails, and reports whether
// there is nothing but padding behind the last record. The offset of the live reader would not tell,
// because it includes the first part of a record that was cut at the end of a
// page.
func (r *segmentReader) rest() (size int64, clean bool, err error) {
	fi, err := r.f.Stat()
	if err != nil {
		return 0, false, err
	}
	clean, err = zeroBetween(r.f, r.end, fi.Size())
	return fi.Size(), clean, err
}

// zeroBetween reports whether the bytes of f from one offset to another are zero.
func zeroBetween(f *os.File, from, to int64) (bool, error) {
	buf := make([]byte, 4096)
	for from < to {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), to-from)], from)
		if slices.ContainsFunc(buf[:n], func(b byte) bool { return b != 0 }) {
			return false, nil
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return false, err
		}
		from += int64(n)
	}
	return true, nil
}

// isReadFailure reports whether err is of a failing disk, not of damaged content.
func isReadFailure(err error) bool {
	var perr *fs.PathError
	return errors.As(err, &perr)
}

// isNoFile reports whether something else lies where a file is wanted: a directory,
// a pipe, a link that leads nowhere or in circles.
func isNoFile(err error) bool {
	return errors.Is(err, errNotRegular) || errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENOTDIR)
}

// isDenied reports whether a file or directory cannot be used as it is, however
// often one tries.
func isDenied(err error) bool {
	return isNoFile(err) || errors.Is(err, fs.ErrPermission)
}

// isScarcity reports whether the process lacks what it takes to open a file. That
// says nothing of the file, and ends.
func isScarcity(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

func recordType(rec []byte) record.Type {
	return (*record.Decoder)(nil).Type(rec)
}

// isContext reports whether a record is one that others need to be understood.
func isContext(t record.Type) bool {
	return t == record.Series || t == record.Metadata
}

// isSamples reports whether a record holds what is to be delivered.
func isSamples(t record.Type) bool {
	switch t {
	case record.Samples, record.SamplesV2, record.Exemplars,
		record.HistogramSamples, record.HistogramSamplesV2, record.CustomBucketsHistogramSamples,
		record.FloatHistogramSamples, record.FloatHistogramSamplesV2, record.CustomBucketsFloatHistogramSamples:
		return true
	}
	return false
}

var errStop = errors.New("stop")

// scanFile calls fn with every record of a segment that is no longer written
// to, and the offset behind it, until fn returns errStop. Damage ends the scan
// with a *damageError after fn has seen all that precedes it.
func scanFile(path string, fn func(rec []byte, end int64) error) error {
	r, err := openSegment(path)
	if err != nil {
		return err
	}
	defer r.close()
	for {
		rec, err := r.next()
		switch {
		case err == nil:
			if err := fn(rec, r.end); err != nil {
				if errors.Is(err, errStop) {
					return nil
				}
				return err
			}
			continue
		case errors.Is(err, io.EOF):
			size, clean, rerr := r.rest()
			if rerr != nil {
				return rerr
			}
			if !clean {
				return &damageError{path: path, offset: r.end, size: size, cut: true, err: errCut}
			}
			return nil
		case isReadFailure(err):
			return err
		default:
			size, _, rerr := r.rest()
			if rerr != nil {
				return rerr
			}
			return &damageError{path: path, offset: r.end, size: size, err: err}
		}
	}
}

// logFiles lists the files of a directory in upstream's log format, in order.
func logFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted by name, and the names have leading zeros
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if _, ok := fileNumber(e.Name()); ok {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	return files, nil
}

var (
	errCut        = errors.New("the last record is cut")
	errNotRegular = errors.New("something else lies there")
)

// damageError says from where on a segment cannot be read.
type damageError struct {
	path         string
	offset, size int64
	cut          bool // the file ends in the middle of a record
	err          error
}

func (e *damageError) Error() string {
	return fmt.Sprintf("%s is damaged from byte %d to %d: %v", e.path, e.offset, e.size, e.err)
}

func (e *damageError) Unwrap() error { return e.err }

// lost returns the number of bytes that cannot be read.
func (e *damageError) lost() int64 { return max(e.size-e.offset, 0) }
