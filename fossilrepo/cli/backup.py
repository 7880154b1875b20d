"""`backup …`: how safe everything is, what there is to go back to, and back again.

Owns which commands there are, and the two lists of what can be restored. How the
replicas stand is in `backup_status`, restoring in `backup_restore`, previews in
`backup_preview`, trial restores and room in `backup_check`, a whole host back in
`rebuild`.
"""

from __future__ import annotations

from fossilrepo.cli import (
    backup_check,
    backup_points,
    backup_preview,
    backup_restore,
    backup_status,
    options,
    rebuild,
)

app = options.group("Backups: how they stand, and any moment back.")
app.command("status")(backup_status.status)
app.command("points")(backup_points.points)
app.command("deleted")(backup_points.deleted)
app.command("restore")(backup_restore.restore)
app.command("compare")(backup_restore.compare)
app.command("undo")(backup_restore.undo)
app.command("preview")(backup_preview.preview)
app.command("previews")(backup_preview.previews)
app.command("preview-close")(backup_preview.preview_close)
app.command("verify")(backup_check.verify)
app.command("history")(backup_check.history)
app.command("forecast")(backup_check.forecast)
app.command("orphans")(backup_check.orphans)
app.command("targets")(backup_status.targets)
app.command("let-go")(backup_check.let_go)
app.command("rebuild")(rebuild.rebuild)
app.command("drill")(rebuild.drill)
