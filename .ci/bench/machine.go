package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// machine is where it was measured.
type machine struct {
	processor  string
	cores      int
	memory     int64 // bytes; 0 if unknown
	kernel     string
	goVersion  string
	when       time.Time
	loadBefore string
}

func thisMachine(now time.Time) machine {
	cpuinfo, _ := os.ReadFile("/proc/cpuinfo")
	meminfo, _ := os.ReadFile("/proc/meminfo")
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	m := machine{
		processor: processorModel(cpuinfo), cores: runtime.NumCPU(), kernel: strings.TrimSpace(string(kernel)),
		goVersion: runtime.Version(), when: now, loadBefore: loadAverage(),
	}
	if total, err := parseFields(meminfo, "MemTotal"); err == nil {
		m.memory = total[0] << 10
	}
	return m
}

// processorModel is the first that has a name; ARM's have none.
func processorModel(cpuinfo []byte) string {
	for line := range bytes.Lines(cpuinfo) {
		name, value, ok := bytes.Cut(line, []byte(":"))
		if ok && string(bytes.TrimSpace(name)) == "model name" {
			return string(bytes.TrimSpace(value))
		}
	}
	return "a processor without a name (" + runtime.GOARCH + ")"
}

// loadAverage is that of the last one, five and fifteen minutes.
func loadAverage() string {
	content, _ := os.ReadFile("/proc/loadavg")
	words := strings.Fields(string(content))
	return strings.Join(words[:min(3, len(words))], " ")
}

func (m machine) String() string {
	return fmt.Sprintf("%s, %d cores, %.1f GiB of memory, Linux %s, %s, %s",
		m.processor, m.cores, mebi(m.memory)/1024, m.kernel, m.goVersion, m.when.Format("2 January 2006, 15:04"))
}
