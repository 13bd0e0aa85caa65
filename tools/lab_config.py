"""JupyterLab's configuration in `make lab`: what it saves shows also without a kernel.

A widget dies with its kernel, and JupyterLab then shows an error in its place, although our figures carry a
static picture beside it. So the reference to the widget is left out of the saved file, as `make notebooks`
does; in the open page the controls go on working.
"""

from pathlib import Path

WIDGET = "application/vnd.jupyter.widget-view+json"


def keep_static_pictures(model: dict, **_) -> None:
    """Takes the widget out of each output that also has a picture; called before each save."""
    if model.get("type") != "notebook" or not model.get("content"):
        return
    for cell in model["content"].get("cells", []):
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output["data"].pop(WIDGET, None)


if "get_config" in globals():  # not when a test imports it
    c = get_config()  # type: ignore[name-defined]  # noqa: F821
    c.FileContentsManager.pre_save_hook = keep_static_pictures
    c.LabApp.app_settings_dir = str(Path(__file__).parent / "lab_settings")  # asks nothing about news
