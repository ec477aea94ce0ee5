package hostmetrics

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/procfs"
)

// mountsOf reads the text of a mountinfo file.
func mountsOf(t *testing.T, text string) []*procfs.MountInfo {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(dir+"/1", 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/1/mountinfo", []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	fs, err := procfs.NewFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := fs.GetProcMounts(1)
	if err != nil {
		t.Fatal(err)
	}
	return mounts
}

func names(m map[string]bool) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(m)), func(k string) bool { return !m[k] })
}

// TestViewOf: what is not so outside, of the mounts of a service, of a system whose root is
// itself bound, and of a host.
func TestViewOf(t *testing.T) {
	for name, c := range map[string]struct {
		text             string
		hidden, writable []string
	}{
		"service": {`100 99 8:1 / / ro,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
101 100 8:2 / /home ro,relatime shared:2 - ext4 /dev/sda2 rw
102 100 8:3 / /boot ro,relatime shared:3 - ext4 /dev/sda3 ro
103 100 0:23 / /run rw,nosuid shared:4 - tmpfs tmpfs rw,size=401000k
110 103 0:25 / /run/credentials ro,nosuid shared:6 - tmpfs tmpfs ro,size=4096k
111 103 0:23 /systemd/propagate/a.service /run/systemd/incoming ro shared:4 - tmpfs tmpfs rw,size=401000k
104 101 0:23 /systemd/inaccessible/dir /home ro,nosuid shared:5 - tmpfs tmpfs rw,size=401000k
105 100 8:1 /var/lib/opstrace-agent /var/lib/opstrace-agent rw,relatime shared:1 - ext4 /dev/sda1 rw
106 100 8:1 /tmp/systemd-private-1-a.service-b/tmp /tmp rw,relatime shared:1 - ext4 /dev/sda1 rw
107 100 0:24 / /var/tmp rw shared:7 - tmpfs tmpfs rw
108 107 0:24 /systemd-private-1-a.service-b/tmp /var/tmp rw shared:7 - tmpfs tmpfs rw
109 100 8:4 / /srv/my\040disk ro shared:9 - ext4 /dev/sdb1 rw
`, []string{"/home", "/run/credentials", "/run/systemd/incoming", "/tmp", "/var/lib/opstrace-agent"}, []string{"/", "/srv/my disk"}},
		"bound root": {`100 99 8:1 /ostree/deploy/a / rw shared:1 - ext4 /dev/sda1 rw
101 100 8:1 /ostree/var /var rw shared:1 - ext4 /dev/sda1 rw
102 100 8:1 /ostree/deploy/a/usr /usr ro shared:1 - ext4 /dev/sda1 rw
`, []string{"/usr"}, nil},
		"host": {`100 99 0:30 /@ / rw shared:1 - btrfs /dev/sda1 rw,subvol=/@
101 100 0:30 /@home /home rw shared:1 - btrfs /dev/sda1 rw,subvol=/@home
102 100 8:2 / /boot ro shared:3 - ext4 /dev/sda2 rw
`, nil, nil},
	} {
		v := viewOf(mountsOf(t, c.text))
		if got := names(v.hidden); !slices.Equal(got, c.hidden) {
			t.Errorf("%s: hidden %v", name, got)
		}
		if got := names(v.writable); !slices.Equal(got, c.writable) {
			t.Errorf("%s: writable %v", name, got)
		}
	}
}

// TestMend: what is hidden is not told of, and what can be written outside is said to be.
func TestMend(t *testing.T) {
	r := prometheus.NewRegistry()
	for _, name := range []string{"node_filesystem_size_bytes", "node_filesystem_readonly", "node_filesystem_purgeable_bytes", "node_disk_info"} {
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: "h"}, []string{"mountpoint"})
		v.WithLabelValues("/hidden").Set(1)
		if !strings.Contains(name, "purgeable") {
			v.WithLabelValues("/").Set(1)
			v.WithLabelValues("/ro").Set(1)
		}
		r.MustRegister(v)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range (mountView{hidden: map[string]bool{"/hidden": true}, writable: map[string]bool{"/": true}}).mend(families) {
		for _, m := range f.Metric {
			got = append(got, f.GetName()+" "+mountPoint(m)+" "+value(m))
		}
	}
	want := []string{
		"node_disk_info / 1", "node_disk_info /hidden 1", "node_disk_info /ro 1",
		"node_filesystem_readonly / 0", "node_filesystem_readonly /ro 1",
		"node_filesystem_size_bytes / 1", "node_filesystem_size_bytes /ro 1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func value(m *dto.Metric) string {
	if m.Gauge.GetValue() == 0 {
		return "0"
	}
	return "1"
}
