# The course in a container, torch for the processor alone:
#   docker build -t zero-to-hero . && docker run --rm -p 8888:8888 zero-to-hero
# The address, with its token, is in what it prints. To keep your work: -v "$PWD/work:/course/work"
FROM python:3.12-slim
RUN useradd --create-home --uid 1000 learner && mkdir /course && chown learner /course
USER learner
WORKDIR /course
COPY --chown=learner pyproject.toml constraints.txt README.md LICENSE ./
COPY --chown=learner tools tools
COPY --chown=learner zth_helpers zth_helpers
COPY --chown=learner data data
COPY --chown=learner notebooks notebooks
RUN python tools/install.py course && rm -rf ~/.cache
COPY --chown=learner figs figs
COPY --chown=learner experiments experiments
ENV PATH="/course/.venv/bin:$PATH"
EXPOSE 8888
HEALTHCHECK --interval=30s --start-period=30s CMD \
    python -c "import urllib.request as r; r.urlopen('http://127.0.0.1:8888/api', timeout=5)"
CMD zth copies && exec jupyter lab --config=tools/lab_config.py --ip=0.0.0.0 --no-browser
