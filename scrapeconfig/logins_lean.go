//go:build remove_cloud_logins

package scrapeconfig

import "github.com/prometheus/sigv4"

// Only the stand-in in packaging/lean has Removed: the tag alone, with the real modules
// linked, does not compile.
const cloudLogins = !sigv4.Removed
