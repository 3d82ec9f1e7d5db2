export * from "./bundle";
export * from "./events";
export * from "./gate";
export * from "./npz";
export * from "./resampler";
export * from "./stream";
export * from "./wav";
