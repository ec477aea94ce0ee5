package hostmetrics

import (
	"path"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/procfs"
)

// A service manager gives a process mounts of its own: it hides what the process must not
// see, binds what it may write onto itself, and makes the rest read-only. The filesystem
// collector takes all of that for the host's. So what it says is held against the mounts.

// mountView is what mounts have that is not so outside.
type mountView struct {
	hidden map[string]bool // mount points that are not there, or the same as what they are in
	// writable are mount points that are read-only in here alone.
	writable map[string]bool
}

// unescape is what the collector makes of mount points (fstab(5)).
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t")

// viewOf reads mounts in their order, of which one that comes later lies on top.
func viewOf(mounts []*procfs.MountInfo) mountView {
	at := map[string][]*procfs.MountInfo{}
	for _, m := range mounts {
		m.MountPoint, m.Root = unescape.Replace(m.MountPoint), unescape.Replace(m.Root)
		at[m.MountPoint] = append(at[m.MountPoint], m)
	}
	v := mountView{hidden: map[string]bool{}, writable: map[string]bool{}}
	top := func(point string) *procfs.MountInfo { return at[point][len(at[point])-1] }
	sealed := at["/"] != nil && readOnlyHere(top("/"))
	for point, ms := range at {
		m := ms[len(ms)-1]
		below := slices.ContainsFunc(ms[:len(ms)-1], func(o *procfs.MountInfo) bool { return o.MajorMinorVer == m.MajorMinorVer })
		switch {
		case strings.HasPrefix(m.Root, "/systemd/inaccessible/"), // ProtectHome= and the like
			point == "/run/credentials", strings.HasPrefix(point, "/run/systemd/"),
			strings.Contains(m.Root, "/systemd-private-") && !below: // PrivateTmp=
			v.hidden[point] = true
		default:
			v.hidden[point] = boundOntoItself(m, at)
		}
		v.writable[point] = sealed && !v.hidden[point] && readOnlyHere(m)
	}
	return v
}

// boundOntoItself reports whether the same lies at a mount point as would without the mount.
func boundOntoItself(m *procfs.MountInfo, at map[string][]*procfs.MountInfo) bool {
	for dir := m.MountPoint; dir != "/"; {
		dir = path.Dir(dir)
		if ms := at[dir]; ms != nil {
			in := ms[len(ms)-1]
			return in.MajorMinorVer == m.MajorMinorVer && path.Join(in.Root, strings.TrimPrefix(m.MountPoint, dir)) == m.Root
		}
	}
	return false
}

// readOnlyHere reports whether a mount is read-only, and its file system is not.
func readOnlyHere(m *procfs.MountInfo) bool {
	_, here := m.Options["ro"]
	_, there := m.SuperOptions["ro"]
	return here && !there
}

// outside is what a Gatherer of node_exporter's has, with the file systems as they are
// outside.
type outside struct{ prometheus.Gatherer }

// Gather implements prometheus.Gatherer.
func (o outside) Gather() ([]*dto.MetricFamily, error) {
	families, err := o.Gatherer.Gather()
	mounts, mountsErr := procfs.GetMounts()
	if mountsErr != nil {
		return families, err // the collector could not read them either
	}
	return viewOf(mounts).mend(families), err
}

// mend takes out of families what there is of hidden mount points.
func (v mountView) mend(families []*dto.MetricFamily) []*dto.MetricFamily {
	return slices.DeleteFunc(families, func(f *dto.MetricFamily) bool {
		if !strings.HasPrefix(f.GetName(), "node_filesystem_") {
			return false
		}
		f.Metric = slices.DeleteFunc(f.Metric, func(m *dto.Metric) bool { return v.hidden[mountPoint(m)] })
		if f.GetName() == "node_filesystem_readonly" {
			for _, m := range f.Metric {
				if v.writable[mountPoint(m)] {
					m.Gauge = &dto.Gauge{Value: new(float64)}
				}
			}
		}
		return len(f.Metric) == 0
	})
}

func mountPoint(m *dto.Metric) string {
	for _, l := range m.Label {
		if l.GetName() == "mountpoint" {
			return l.GetValue()
		}
	}
	return ""
}
