"""Parts of the segmentation node: loading, worker, camera view, outputs, diagnostics.

`view.CameraPipeline` is one camera from its topics to its masks, `worker.LatestWorker` the thread
of the network; `model_loading.make_segmenter` serves the commands, too, as does
`kernels.compile_kernels`, which compiles what a frame meets before one comes.
`result_headers.ResultHeaders` is what messages made of one mask have in their headers.
"""
