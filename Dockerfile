# The service in a container. Build and run: docker compose up --build
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN python -m venv /opt/landmarks && /opt/landmarks/bin/pip install --no-cache-dir ".[serve,search]"

FROM python:3.13-slim
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin landmarks
COPY --from=build /opt/landmarks /opt/landmarks
ENV PATH=/opt/landmarks/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
ENTRYPOINT ["landmarks", "serve", "--host", "0.0.0.0"]
