package backlog

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDirectoryComesBack: a directory that had lost its name gets it back, as one does
// over which something was mounted for a while. The run that gave it up has not kept its
// locks, and has not touched what had its name meanwhile.
func TestDirectoryComesBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := openStore(t, dir, Options{})
	require.NoError(t, os.Rename(dir, dir+".away"))
	require.NoError(t, os.Mkdir(dir, dirMode))
	lock := filepath.Join(dir, "lock")
	require.NoError(t, os.WriteFile(lock, []byte("of another"), fileMode))
	require.ErrorIs(t, s.Vanished(), ErrVanished)
	require.True(t, s.Moved())
	require.NoError(t, s.Close())
	content, err := os.ReadFile(lock)
	require.NoError(t, err)
	require.Equal(t, "of another", string(content))

	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, os.Rename(dir+".away", dir))
	openStore(t, dir, Options{})
}
