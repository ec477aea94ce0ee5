package scrapeconfig

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/go-kit/log"
	"github.com/prometheus/prometheus/config"
	yamlv2 "go.yaml.in/yaml/v2" // Upstream's parser, as the judge.
	"go.yaml.in/yaml/v3"
)

// blocks are written in different ways.
var blocks = []string{
	"opstrace: {cluster: c, tenant: fuzz}\n",
	"opstrace:\n  cluster: c\n  tenant: fuzz\n",
	"opstrace: # one\n\n- cluster: c\n# two\n  tenant: fuzz\n\n",
	"\"opstrace\":\n  - {cluster: c,\n     tenant: fuzz}\n",
	"opstrace:\r\n  cluster: c\r\n  tenant: fuzz\r\n",
	"opstrace: &a\n  cluster: c\n  tenant: 'fuzz'\n  headers:\n    A: &b |+\n      opstrace:\n\n       b\n\n    B: *b\n    C: \"c\n\n      c\"\n",
	"host: {job_name: host-fuzz}\n",
	"host:\r\n  job_name: host-fuzz\r\n\r\n  collectors: &host\r\n    textfile: {directory: /a}\r\n",
}

// checkCut says what must hold for any content at all.
func checkCut(t *testing.T, content []byte) {
	t.Helper()
	src, err := parse(content, "agent.yml")
	if err != nil {
		if e, ok := errors.AsType[*Error](err); !ok || e.Line < 1 || e.Line > len(splitLines(content)) || e.Hint == "" {
			t.Fatalf("%#v", err)
		}
		return
	}
	if len(src.blocks) == 0 {
		if !bytes.Equal(src.rest, content) {
			t.Fatalf("no block, but got\n%s", src.rest)
		}
		return
	}
	all := splitLines(content)
	parts := [][][]byte{splitLines(src.rest)}
	for _, b := range src.blocks {
		parts = append(parts, splitLines(b.text))
	}
	for _, part := range parts {
		if len(part) != len(all) {
			t.Fatalf("%d lines became %d", len(all), len(part))
		}
	}
	for i, line := range all {
		blank := append([]byte("#"), line[len(line)-breakLen(line):]...)
		found, blanks := 0, 0
		for _, part := range parts {
			switch {
			case bytes.Equal(part[i], blank):
				blanks++
			case bytes.Equal(part[i], line):
				found++
			}
		}
		if want := len(parts) - 1; blanks+found != len(parts) || blanks != want && !bytes.Equal(line, blank) {
			t.Fatalf("line %d, %q, is in %d parts of %d", i+1, line, found, len(parts))
		}
	}
	var want, got yamlv2.MapSlice
	if yamlv2.Unmarshal(content, &want) != nil {
		return // Upstream never gets to see the like.
	}
	want = slices.DeleteFunc(want, func(i yamlv2.MapItem) bool { return slices.Contains(blockKeys, fmt.Sprint(i.Key)) })
	if err := yamlv2.Unmarshal(src.rest, &got); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("rest is %v (%v), want %v", got, err, want)
	}
}

// checkInsert inserts a block above the n-th section of content, or below the
// last one, and compares what becomes of the rest. It reports whether there was
// such a place and the rest was good.
func checkInsert(t *testing.T, content []byte, n int, block string) bool {
	t.Helper()
	root := rootOf(content)
	if root == nil || root.Kind != yaml.MappingNode || root.Style&yaml.FlowStyle != 0 || bytes.Contains(content, []byte(blockKey)) || len(find(root, hostKey)) > 0 {
		return false
	}
	lines := splitLines(content)
	at := len(lines)
	var column int
	if n *= 2; n < len(root.Content) {
		key := root.Content[n]
		at, column = key.Line-1, key.Column
		if !startsLine(lines[at], column) || bytes.HasPrefix(lines[at], []byte("\xef\xbb\xbf")) {
			return false
		}
	} else if column = root.Column; blockEnd(lines, 1) < len(lines) || len(lines[at-1]) > 0 {
		return false // The block would be in another document, or in the last line.
	}
	var inserted, comments strings.Builder
	for line := range strings.Lines(block) {
		inserted.WriteString(strings.Repeat(" ", column-1) + line)
		comments.WriteString("#\n")
	}
	join := func(s string) []byte {
		return slices.Concat(bytes.Join(lines[:at], nil), []byte(s), bytes.Join(lines[at:], nil))
	}
	checkCut(t, join(inserted.String()))
	if root := rootOf(join(inserted.String())); root != nil && len(find(root, blockKey))+len(find(root, hostKey)) == 0 {
		return false // What stands above has ended the document, or begun a text.
	}
	got, err := Load(join(inserted.String()), "testdata/agent.yml", log.NewNopLogger())
	want, wantErr := Load(join(comments.String()), "testdata/agent.yml", log.NewNopLogger())
	if fmt.Sprint(err) != fmt.Sprint(wantErr) {
		t.Fatalf("with the block in line %d: %v, without: %v", at+1, err, wantErr)
	}
	if err != nil {
		return false
	}
	if last := len(got.RemoteWriteConfigs) - 1; last >= 0 && got.RemoteWriteConfigs[last].Name == "opstrace-fuzz" {
		got.RemoteWriteConfigs = got.RemoteWriteConfigs[:last]
	} else if last := len(got.ScrapeConfigs) - 1; last >= 0 && got.ScrapeConfigs[last].JobName == "host-fuzz" {
		got.ScrapeConfigs = got.ScrapeConfigs[:last]
	} else {
		t.Fatalf("nothing has come of the block in line %d", at+1)
	}
	plain, err := Load(content, "testdata/agent.yml", log.NewNopLogger())
	if err != nil {
		t.Fatalf("the block in line %d mends: %v", at+1, err)
	}
	for _, want := range []*config.Config{want, plain} {
		unnamed := make([]bool, len(plain.RemoteWriteConfigs))
		if got, want := text(t, got, unnamed), text(t, want, unnamed); got != want {
			t.Fatalf("with the block in line %d: got\n%s\nwant\n%s", at+1, got, want)
		}
	}
	return true
}

// samples are all of upstream's test configurations and this package's own.
func samples(t testing.TB) [][]byte {
	t.Helper()
	var contents [][]byte
	for _, path := range slices.Concat(upstreamFiles(t, "config/testdata/*.yml"), goodFiles(t)) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		contents = append(contents, content)
	}
	for _, c := range slices.Concat(badBlocks, badHosts, badRests) {
		contents = append(contents, []byte(c.in))
	}
	return contents
}

func TestBlockChangesNothing(t *testing.T) {
	good := 0
	for i, content := range samples(t) {
		checkCut(t, content)
		for n := range 8 {
			if checkInsert(t, content, n, blocks[(i+n)%len(blocks)]) {
				good++
			}
		}
	}
	if good < 100 {
		t.Errorf("only %d good configurations with a block", good)
	}
}

// The block is found however lines end and the file begins, and the lines
// below it keep their numbers.
func TestBlockIsFound(t *testing.T) {
	for _, content := range []string{
		"\ufeffopstrace: {cluster: c, tenant: t}\nglobal:\n  a: b\n",
		"\ufeff  opstrace: {cluster: c, tenant: t}\n  a: b\n",
		"opstrace:\r\n  {cluster: c, tenant: t}\r\na: b\r\n",
		"opstrace:\r  {cluster: c, tenant: t}\ra: b\r",
		"opstrace:\u0085  {cluster: c, tenant: t}\u0085a: b\u0085",
		"opstrace:\u2028  {cluster: c, tenant: t}\u2029a: b\n",
		"%YAML 1.1\n--- # comment\nopstrace: {cluster: c, tenant: t}\n\n\na: b",
		"  a: b\n  opstrace: {cluster: c, tenant: t}",
		"a: b\n!!str opstrace: {cluster: c, tenant: t}",
	} {
		good := strings.NewReplacer("global:\n  a: b", "", "a: b", "global: {}").Replace(content)
		if names := namesIn(t, good); !slices.Equal(names, []string{"opstrace-t"}) {
			t.Errorf("%q: got %v", good, names)
		}
		_, err := Load([]byte(content), "agent.yml", nil)
		line := 1 + slices.IndexFunc(splitLines([]byte(content)), func(l []byte) bool { return bytes.Contains(l, []byte("a: b")) })
		want := fmt.Sprintf("agent.yml:%d: field a not found in type config.plain", line)
		if err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", content, err, want)
		}
	}
}

func FuzzBlock(f *testing.F) {
	for i, content := range samples(f) {
		f.Add(content, uint8(i), uint8(i))
	}
	for _, content := range []string{
		"a: |+\n x\n\nopstrace: {a: b}\nb: c\n", "opstrace: {a: b}\n? >\n x\n: c\n", "\xef\xbb\xbfopstrace: 1\na: b\n",
		"a: b\u2028opstrace:\u2028  c: d\u2028e: f\n", "opstrace: !!map\n &a\n {a: b}\nb: *a\n", "a:\n- b\nopstrace:\n- c\n--- x\n",
		"?\nopstrace: {a: b}\n", "global: {}\n%YAML 1.1\n", "global: {}\n...\u2028", "alerting:\n  alertmanagers:\n    -",
	} {
		f.Add([]byte(content), uint8(0), uint8(0))
	}
	f.Fuzz(func(t *testing.T, content []byte, n, how uint8) {
		checkCut(t, content)
		checkInsert(t, content, int(n)%16, blocks[int(how)%len(blocks)])
	})
}
