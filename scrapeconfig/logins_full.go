//go:build !remove_cloud_logins

package scrapeconfig

const cloudLogins = true
