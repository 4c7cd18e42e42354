# The service in a container, with everything that `landmarks serve` can use. Build and run: docker compose up --build
#
# The packages are pinned with their hashes in container/requirements.txt. To pin the base image as well, give its
# digest: docker build --build-arg BASE=python:3.13-slim@sha256:...
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
WORKDIR /src
RUN python -m venv /opt/landmarks
COPY container/requirements.txt ./container/
RUN /opt/landmarks/bin/pip install --no-cache-dir --no-compile --require-hashes -r container/requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN /opt/landmarks/bin/pip install --no-cache-dir --no-compile --no-deps .

FROM ${BASE}
# Jobs and their images are kept in /var/lib/landmarks, if the service is started with --jobs.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin landmarks \
  && install --directory --owner 10001 --mode 0700 /var/lib/landmarks
COPY --from=build /opt/landmarks /opt/landmarks
ENV PATH=/opt/landmarks/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
ENTRYPOINT ["landmarks", "serve", "--host", "0.0.0.0"]
