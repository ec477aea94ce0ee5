package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

func TestParseFigures(t *testing.T) {
	figures, err := parseFigures("ok    the program starts (5 s)\r\n\npressed: 40 MiB\nfigure before MemAvailable 64080\r\nfigure rest VmRSS 1024\n")
	require.NoError(t, err)
	require.Equal(t, map[inGuest]float64{{"before", "MemAvailable"}: 64080.0 / 1024, {"rest", "VmRSS"}: 1}, figures)

	figures, err = parseFigures("ok    nothing\n")
	require.NoError(t, err)
	require.Empty(t, figures)

	for _, text := range []string{"figure before MemAvailable\n", "figure before MemAvailable many\n", "figure before room 1 kB\n"} {
		_, err := parseFigures(text)
		require.ErrorContains(t, err, "not a figure", text)
	}
}

func TestGuestFigures(t *testing.T) {
	measured := guestFigures(map[inGuest]float64{
		{phaseBefore, "MemAvailable"}: 62, {phaseRest, "MemAvailable"}: 50, {phasePressure, "MemAvailable"}: 10,
		{phaseBefore, "room"}: 50, {phasePressure, "room"}: 30,
		{phaseBefore, "Cached"}: 5, {phaseRest, "Cached"}: 29.5,
		{phaseRest, "VmRSS"}: 40, {phasePressure, "VmRSS"}: 20,
		{phaseRest, "Slab"}: 19, // of before there is none
	})
	require.Equal(t, map[measurand]float64{availableFall: 12, roomFall: 20, cachedRise: 24.5, rss: 40, pressedRSS: 20}, measured)
	require.Empty(t, guestFigures(nil))
}

// TestGuestMeasurands: all are shown, and each figure is one that the script prints.
func TestGuestMeasurands(t *testing.T) {
	script, err := os.ReadFile(filepath.Join("..", "..", guestScripts, "guest", guestScript))
	require.NoError(t, err)
	for _, m := range guestMeasurands {
		require.Contains(t, measurands, m.measurand)
		for _, figure := range []inGuest{m.from, m.to} {
			require.Contains(t, string(script), figure.name)
			require.Contains(t, string(script), figure.phase)
		}
	}
}

// TestGuestPayload: everything that the guest reaches for on this host is where it sees
// the host, and its own address is its own.
func TestGuestPayload(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	binary := filepath.Join(t.TempDir(), "binary")
	require.NoError(t, os.WriteFile(binary, []byte("a program"), 0o750))
	targets, err := agenttest.NewTargets("127.0.0.1:0")
	require.NoError(t, err)
	defer targets.Close()
	targets.Add("t0", agenttest.TargetOptions{Series: 1})
	sink, err := newSink()
	require.NoError(t, err)
	defer sink.down()

	one := trial{scenario: guestPlan.scenarios[0], peer: peer{binary: binary, args: prometheusArgs, remoteWrite: true}, sink: sink, targets: targets}
	dir := filepath.Join(t.TempDir(), "payload")
	require.NoError(t, one.writePayload(dir, targets.ScrapeConfig("bench", one.interval)))
	config, err := os.ReadFile(filepath.Join(dir, "config.yml"))
	require.NoError(t, err)
	require.NotContains(t, string(config), "127.0.0.1")
	require.Contains(t, string(config), "http://10.0.2.2:")
	arguments, err := os.ReadFile(filepath.Join(dir, "arguments"))
	require.NoError(t, err)
	require.Equal(t, "--config.file=/harness/config.yml\n--storage.agent.path=/var/lib/measured\n--web.listen-address=127.0.0.1:9090\n", string(arguments))
	info, err := os.Stat(filepath.Join(dir, "program"))
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&0o100)
	require.FileExists(t, filepath.Join(dir, guestScript))
	require.FileExists(t, filepath.Join(dir, "world.sh"))
}

// TestGuestScripts: bash can read what the guest runs.
func TestGuestScripts(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash")
	}
	scripts, err := filepath.Glob(filepath.Join("..", "..", guestScripts, "guest", "*.sh"))
	require.NoError(t, err)
	require.NotEmpty(t, scripts)
	for _, script := range scripts {
		out, err := exec.Command(bash, "-n", script).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
}
