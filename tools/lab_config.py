"""JupyterLab's configuration in `make lab`: what it saves shows also without a kernel, and it prints little.

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
    from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager

    class Contents(AsyncLargeFileManager):
        """A class, since Jupyter reads this file twice and would warn of a second `pre_save_hook`."""

        def run_pre_save_hooks(self, model: dict, path: str, **more) -> None:
            keep_static_pictures(model)
            super().run_pre_save_hooks(model, path, **more)

    c = get_config()  # type: ignore[name-defined]  # noqa: F821
    c.ServerApp.contents_manager_class = Contents
    c.LabApp.app_settings_dir = str(Path(__file__).parent / "lab_settings")  # asks nothing about news
    c.Application.log_level = "ERROR"  # the address is printed nevertheless
