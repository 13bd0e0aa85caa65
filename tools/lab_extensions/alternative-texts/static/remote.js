// JupyterLab shows the pictures of outputs without alternative text. This extension, which is loaded as it stands
// (no build step; see tools/lab_config.py), takes it from the output's metadata: {"image/png": {"alt": "…"}}.
(window._JUPYTERLAB ??= {})["alternative-texts"] = {
  init(shared) {
    this.shared = shared;
  },
  async get() {
    const [version] = Object.values(this.shared["@jupyterlab/rendermime"]);
    const { IRenderMimeRegistry } = (await version.get())();
    const plugin = {
      id: "alternative-texts:plugin",
      autoStart: true,
      requires: [IRenderMimeRegistry],
      activate(_app, registry) {
        const factory = registry.getFactory("image/png");
        const createRenderer = (options) => {
          const renderer = factory.createRenderer(options), render = renderer.renderModel.bind(renderer);
          renderer.renderModel = async (model) => {
            await render(model);
            const image = renderer.node.querySelector("img");
            if (image) image.alt = model.metadata?.[options.mimeType]?.alt ?? "";
          };
          return renderer;
        };
        registry.addFactory({ ...factory, createRenderer }, registry.getRank ? registry.getRank("image/png") : 90);
      },
    };
    return () => ({ default: plugin, __esModule: true });
  },
};
