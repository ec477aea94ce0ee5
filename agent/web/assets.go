package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"io/fs"
	"net/http"
	"sync"
	"time"

	"github.com/opstrace/opstrace-agent/agent/number"
)

//go:embed assets
var assetFiles embed.FS

//go:embed templates
var templateFiles embed.FS

// assetVersion is part of the assets' path, so that browsers may keep them for
// ever and still see the new ones after an upgrade.
var assetVersion = hashFiles(assetFiles)

// pageTemplate is parsed for the first page: many agents are never looked at.
var pageTemplate = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page.html").Funcs(template.FuncMap{
		"ago":      ago,
		"at":       func(now time.Time, value any) timed { return timed{now, value} },
		"bytes":    formatBytes,
		"count":    formatAnyCount,
		"exact":    number.Group,
		"duration": formatDuration,
		"millis":   formatMillis,
		"rate":     formatRate,
		"rows":     func(p poolView, q query) poolRows { return poolRows{p, q} },
		"stamp":    formatStamp,
	}).ParseFS(templateFiles, "templates/*.html"))
})

// timed and poolRows give a template, which takes one value, a second one.
type (
	timed struct {
		Now   time.Time
		Value any
	}
	poolRows struct {
		Pool  poolView
		Query query
	}
)

func hashFiles(files fs.FS) string {
	sum := sha256.New()
	err := fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(files, path)
		sum.Write(b)
		return err
	})
	if err != nil {
		panic(err) // the files are in the binary
	}
	return hex.EncodeToString(sum.Sum(nil))[:12]
}

func (s *Server) assetRoutes(mux *http.ServeMux) {
	// What browsers ask for beside an answer that is no page: a metric, a target's text.
	mux.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	files := http.FileServerFS(assetFiles)
	mux.HandleFunc("GET /assets/{version}/{file}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("version") != assetVersion {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		r.URL.Path = "/assets/" + r.PathValue("file")
		files.ServeHTTP(w, r)
	})
}
