package agenttest

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

//go:embed testdata/node_exporter.txt.gz
var nodeExporter []byte

// RecordedSample is one sample of a recorded scrape.
type RecordedSample struct {
	Labels labels.Labels // with job and instance
	T      int64         // Unix milliseconds
	V      float64
}

// RecordedScrapes returns 60 real scrapes of a node exporter, 15 seconds apart,
// oldest first (see testdata/README.md).
func RecordedScrapes() ([][]RecordedSample, error) {
	text, err := gzip.NewReader(bytes.NewReader(nodeExporter))
	if err != nil {
		return nil, fmt.Errorf("cannot read the recorded scrapes: %w", err)
	}
	var (
		at    int64
		now   []RecordedSample // one for each series
		all   [][]RecordedSample
		lines = bufio.NewScanner(text)
	)
	for lines.Scan() {
		line := lines.Text()
		if ms, ok := strings.CutPrefix(line, "@"); ok {
			if len(now) > 0 {
				all = append(all, append([]RecordedSample(nil), now...))
			}
			if at, err = strconv.ParseInt(ms, 10, 64); err != nil {
				return nil, fmt.Errorf("cannot read the recorded scrapes: %w", err)
			}
			for i := range now {
				now[i].T = at
			}
			continue
		}
		cut := strings.LastIndexByte(line, ' ')
		v, err := strconv.ParseFloat(line[cut+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("cannot read the recorded scrapes: %w", err)
		}
		if i, err := strconv.Atoi(line[:cut]); err == nil {
			now[i].V = v
			continue
		}
		ls, err := recordedSeries(line)
		if err != nil {
			return nil, err
		}
		now = append(now, RecordedSample{Labels: ls, T: at, V: v})
	}
	return append(all, now), lines.Err()
}

// recordedSeries returns the labels that an agent gives to a line of an
// exposition.
func recordedSeries(line string) (labels.Labels, error) {
	p := textparse.NewPromParser([]byte(line+"\n"), labels.NewSymbolTable(), false)
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			return labels.EmptyLabels(), fmt.Errorf("no series in the recorded line %q", line)
		}
		if err != nil {
			return labels.EmptyLabels(), fmt.Errorf("cannot parse the recorded line %q: %w", line, err)
		}
		if entry == textparse.EntrySeries {
			var lset labels.Labels
			p.Labels(&lset)
			b := labels.NewBuilder(lset)
			b.Set("job", "node")
			b.Set("instance", "127.0.0.1:9100")
			return b.Labels(), nil
		}
	}
}
