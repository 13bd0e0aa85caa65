"""JupyterLab's configuration in `make lab`: what it saves shows also without a kernel, a lesson that was only
read is not saved, terminals find the course's commands, and little is printed.

A widget dies with its kernel, and JupyterLab then shows an error in its place, although our figures carry a
static picture beside it. So the reference to the widget is left out of the saved file, as `make notebooks`
does; in the open page the controls go on working.
"""

import json
import os
from pathlib import Path

WELCOME = "work/welcome.md"  # below the course: what JupyterLab opens with
WIDGET = "application/vnd.jupyter.widget-view+json"


def keep_static_pictures(model: dict, **_) -> None:
    """Takes the widget out of each output that also has a picture; called before each save."""
    if model.get("type") != "notebook" or not model.get("content"):
        return
    for cell in model["content"].get("cells", []):
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data or "".join(data.get("text/plain", "")) == "still training":  # see `live`
                output["data"].pop(WIDGET, None)


def only_metadata_differs(model: dict, path: str) -> bool:
    """Does the file hold what is to be saved, but for what JupyterLab notes about the kernel? It asks to save
    a notebook as soon as a kernel has started, and git would then show a lesson as changed by reading it."""
    try:
        with open(path, encoding="utf-8") as file:
            there = json.load(file)
        return comparable(there) == comparable(model["content"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def comparable(notebook: dict) -> list:
    return [
        [
            cell["cell_type"],
            cell.get("id"),
            "".join(cell["source"]),
            cell.get("execution_count"),
            {k: v for k, v in cell.get("metadata", {}).items() if k not in ("trusted", "execution")},
            [_joined(output) for output in cell.get("outputs", [])],
        ]
        for cell in notebook["cells"]
    ]


def _joined(value: object) -> object:
    """A file holds long text as lists of lines, the browser sends it in one piece."""
    if isinstance(value, dict):
        return {k: _joined(v) for k, v in value.items() if k not in ("trusted", "transient")}
    if isinstance(value, list):
        return "".join(value) if all(isinstance(v, str) for v in value) else [_joined(v) for v in value]
    return value


if "get_config" in globals():  # not when a test imports it
    from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager

    class Contents(AsyncLargeFileManager):
        """A class, since Jupyter reads this file twice and would warn of a second `pre_save_hook`."""

        def run_pre_save_hooks(self, model: dict, path: str, **more) -> None:
            keep_static_pictures(model)
            super().run_pre_save_hooks(model, path, **more)

        async def save(self, model: dict, path: str = "") -> dict:
            if model.get("type") == "notebook":
                keep_static_pictures(model)
                if only_metadata_differs(model, self._get_os_path(path)):
                    return await self.get(path, content=False)
            return await super().save(model, path)

    c = get_config()  # type: ignore[name-defined]  # noqa: F821
    c.ServerApp.contents_manager_class = Contents
    # The course is the root, whatever a jupyter_lab_config.py of the user's own says.
    c.ServerApp.root_dir = c.LabApp.root_dir = str(Path(__file__).resolve().parents[1])
    c.LabApp.default_url = f"/lab/tree/{WELCOME}"
    if os.name != "nt":  # no login shell: that would forget the PATH with the course's commands
        c.ServerApp.terminado_settings = {"shell_command": [os.environ.get("SHELL") or "sh"]}
    c.LabApp.extra_labextensions_path = [str(Path(__file__).parent / "lab_extensions")]
    # What the File menu exports (and jupyter nbconvert, with this file as --config): with alternative texts
    c.HTMLExporter.extra_template_basedirs = [str(Path(__file__).parent / "nbconvert")]
    c.HTMLExporter.template_name = "described"
    c.LabApp.app_settings_dir = str(Path(__file__).parent / "lab_settings")  # asks nothing about news
    c.Application.log_level = "ERROR"  # the address is printed nevertheless
